/* nlxtp.hpp: nlxtp.h for C++17. Handles free themselves, failures are exceptions, callbacks are any
 * callable, and what they throw is thrown by the call that they were made for. Header only; link with
 * libnlxtp.
 */
#ifndef NLXTP_HPP
#define NLXTP_HPP

#include "nlxtp.h"

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace nlxtp {

namespace detail {

inline std::string text(const char *given) { return given != nullptr ? given : ""; }

} // namespace detail

/** What an upload did. */
class upload {
public:
    explicit upload(nlxtp_upload *given) : handle_(given, nlxtp_upload_free) {}

    /** A report that belongs to something else, which it keeps. */
    upload(const nlxtp_upload *given, std::shared_ptr<const void> owner) : handle_(std::move(owner), given) {}

    std::string run_id() const { return detail::text(nlxtp_upload_run_id(handle_.get())); }
    std::uint64_t entries() const noexcept { return nlxtp_upload_entries(handle_.get()); }
    std::uint64_t bytes() const noexcept { return nlxtp_upload_bytes(handle_.get()); }
    /** Empty where there is none. */
    std::string start_script() const { return detail::text(nlxtp_upload_start_script(handle_.get())); }
    nlxtp_execution execution() const noexcept { return nlxtp_upload_execution(handle_.get()); }
    std::vector<std::string> warnings() const {
        std::vector<std::string> all;
        for (std::size_t i = 0; i < nlxtp_upload_warning_count(handle_.get()); i++) {
            all.emplace_back(nlxtp_upload_warning(handle_.get(), i));
        }
        return all;
    }
    std::string json() const { return detail::text(nlxtp_upload_json(handle_.get())); }
    /** The C object, for what is not wrapped here. */
    const nlxtp_upload *get() const noexcept { return handle_.get(); }

private:
    // It never changes, so that copies share it.
    std::shared_ptr<const nlxtp_upload> handle_;
};

/** What a download took home. */
class download {
public:
    explicit download(nlxtp_download *given) : handle_(given, nlxtp_download_free) {}

    std::uint64_t files() const noexcept { return nlxtp_download_files(handle_.get()); }
    std::uint64_t directories() const noexcept { return nlxtp_download_directories(handle_.get()); }
    std::uint64_t symlinks() const noexcept { return nlxtp_download_symlinks(handle_.get()); }
    std::uint64_t bytes() const noexcept { return nlxtp_download_bytes(handle_.get()); }
    std::uint64_t archive_bytes() const noexcept { return nlxtp_download_archive_bytes(handle_.get()); }
    std::uint64_t changed() const noexcept { return nlxtp_download_changed(handle_.get()); }
    std::uint64_t left_out() const noexcept { return nlxtp_download_left_out(handle_.get()); }
    std::uint32_t attempts() const noexcept { return nlxtp_download_attempts(handle_.get()); }
    bool settled() const noexcept { return nlxtp_download_settled(handle_.get()); }
    nlxtp_verification verification() const noexcept { return nlxtp_download_verification(handle_.get()); }
    std::uint64_t differences() const noexcept { return nlxtp_download_differences(handle_.get()); }
    std::string json() const { return detail::text(nlxtp_download_json(handle_.get())); }
    /** The C object, for what is not wrapped here. */
    const nlxtp_download *get() const noexcept { return handle_.get(); }

private:
    // It never changes, so that copies share it.
    std::shared_ptr<const nlxtp_download> handle_;
};

/** Why an operation failed. what() is all that is known, in words. It never changes; copies share it. */
class error : public std::runtime_error {
public:
    explicit error(nlxtp_error *given)
        : std::runtime_error(text_of(given)), handle_(given, nlxtp_error_free) {}

    /** An error that belongs to something else, which it keeps. */
    error(const nlxtp_error *given, std::shared_ptr<const void> owner)
        : std::runtime_error(text_of(given)), handle_(std::move(owner), given) {}

    nlxtp_result code() const noexcept { return nlxtp_error_code(handle_.get()); }
    /** A stable word, such as "bad-archive". */
    std::string_view kind() const { return or_empty(nlxtp_error_kind(handle_.get())); }
    std::string_view operation() const { return or_empty(nlxtp_error_operation(handle_.get())); }
    std::string_view message() const { return or_empty(nlxtp_error_message(handle_.get())); }
    /** The file, directory or archive entry that it is about; empty where there is none. */
    std::string_view path() const { return or_empty(nlxtp_error_path(handle_.get())); }
    /** The way out; empty where none is known. */
    std::string_view hint() const { return or_empty(nlxtp_error_hint(handle_.get())); }
    bool may_retry() const noexcept { return nlxtp_error_may_retry(handle_.get()); }
    /** What an upload did that stands all the same, after NLXTP_ERROR_INVOKE_FAILED. */
    std::optional<nlxtp::upload> upload() const {
        const nlxtp_upload *stands = nlxtp_error_upload(handle_.get());
        return stands != nullptr ? std::optional<nlxtp::upload>({stands, handle_}) : std::nullopt;
    }
    /** The C object, for what is not wrapped here. */
    const nlxtp_error *get() const noexcept { return handle_.get(); }

private:
    static const char *text_of(const nlxtp_error *given) {
        const char *text = nlxtp_error_text(given);
        return text != nullptr ? text : "nlxtp: no reason is known";
    }
    static std::string_view or_empty(const char *text) { return text != nullptr ? text : ""; }

    std::shared_ptr<const nlxtp_error> handle_;
};

namespace detail {

// What a callback has thrown in this thread, where the library has called it: no exception may leave it
// into C. The call that it was made for throws it on.
inline thread_local std::exception_ptr thrown;

// What a callback returns; `failed` if it throws.
template <typename Result, typename Function> Result guarded(Result failed, Function &&function) noexcept {
    try {
        return function();
    } catch (...) {
        thrown = std::current_exception();
        return failed;
    }
}

// What a callback returns that has thrown, where it returns an errno value.
inline constexpr int failed = -ECANCELED;

template <typename Call> void check(Call &&call) {
    nlxtp_error *given = nullptr;
    const nlxtp_result result = call(&given);
    if (const std::exception_ptr from_callback = std::exchange(thrown, nullptr)) {
        nlxtp_error_free(given);
        std::rethrow_exception(from_callback);
    }
    if (result != NLXTP_OK) {
        throw error(given);
    }
}

template <typename T, void (*Free)(T *)> struct freer {
    void operator()(T *handle) const noexcept { Free(handle); }
};

template <typename T, void (*Free)(T *)> using owned = std::unique_ptr<T, freer<T, Free>>;

// What a call makes, which is freed if the call throws.
template <typename T, void (*Free)(T *), typename Call> owned<T, Free> made(Call &&call) {
    owned<T, Free> result;
    check([&](nlxtp_error **error) {
        T *handle = nullptr;
        const nlxtp_result code = call(&handle, error);
        result.reset(handle);
        return code;
    });
    return result;
}

inline std::uint64_t milliseconds(std::chrono::milliseconds time) {
    return static_cast<std::uint64_t>(time.count() < 0 ? 0 : time.count());
}

} // namespace detail

/** What a status query found. */
class status {
public:
    explicit status(nlxtp_status *given) : handle_(given, nlxtp_status_free) {}

    /** A status that belongs to something else, which it keeps. */
    status(const nlxtp_status *given, std::shared_ptr<const void> owner) : handle_(std::move(owner), given) {}

    nlxtp_state state() const noexcept { return nlxtp_status_state(handle_.get()); }
    std::string word() const { return detail::text(nlxtp_status_state_word(handle_.get())); }
    bool done() const noexcept { return nlxtp_status_done(handle_.get()); }
    bool running() const noexcept { return nlxtp_status_running(handle_.get()); }
    std::string reason() const { return detail::text(nlxtp_status_reason(handle_.get())); }
    std::string run_id() const { return detail::text(nlxtp_status_run_id(handle_.get())); }
    std::string json() const { return detail::text(nlxtp_status_json(handle_.get())); }

    /** The Custom Status: any bytes. */
    std::optional<std::string> custom() const {
        std::size_t length = 0;
        const void *bytes = nlxtp_status_custom(handle_.get(), &length);
        if (bytes == nullptr) {
            return std::nullopt;
        }
        return std::string(static_cast<const char *>(bytes), length);
    }

    /** Steps done, and steps in all, if the start script tells them. */
    std::optional<std::pair<std::uint64_t, std::uint64_t>> progress() const {
        const std::uint64_t total = nlxtp_status_progress_total(handle_.get());
        return total == 0 ? std::nullopt
                          : std::optional(std::pair(nlxtp_status_progress_done(handle_.get()), total));
    }

    /** The start script's exit code, if it has ended by itself. */
    std::optional<int> exit_code() const {
        const int code = nlxtp_status_exit_code(handle_.get());
        return code < 0 ? std::nullopt : std::optional<int>(code);
    }

    const nlxtp_status *get() const noexcept { return handle_.get(); }

private:
    // It never changes, so that copies share it.
    std::shared_ptr<const nlxtp_status> handle_;
};

/** What a virtual machine's disk was like when it was opened. */
class disk {
public:
    explicit disk(const std::string &target, const nlxtp_control *control = nullptr) {
        handle_ = detail::made<nlxtp_disk, nlxtp_disk_free>([&](nlxtp_disk **disk, nlxtp_error **error) {
            return nlxtp_disk_open(target.c_str(), control, disk, error);
        });
    }

    /** By the descriptor of the image file or block device, which stays the caller's. */
    explicit disk(int target, const nlxtp_control *control = nullptr) {
        handle_ = detail::made<nlxtp_disk, nlxtp_disk_free>([&](nlxtp_disk **disk, nlxtp_error **error) {
            return nlxtp_disk_open_fd(target, control, disk, error);
        });
    }

    std::uint64_t bytes() const noexcept { return nlxtp_disk_bytes(handle_.get()); }
    std::uint64_t partition_offset() const noexcept { return nlxtp_disk_partition_offset(handle_.get()); }
    std::uint64_t partition_bytes() const noexcept { return nlxtp_disk_partition_bytes(handle_.get()); }
    std::uint32_t fat_bits() const noexcept { return nlxtp_disk_fat_bits(handle_.get()); }
    std::uint32_t cluster_bytes() const noexcept { return nlxtp_disk_cluster_bytes(handle_.get()); }
    bool unfinished() const noexcept { return nlxtp_disk_unfinished(handle_.get()); }
    std::string label() const { return detail::text(nlxtp_disk_label(handle_.get())); }
    std::uint64_t capacity_bytes() const noexcept { return nlxtp_disk_capacity_bytes(handle_.get()); }
    std::uint64_t free_bytes() const noexcept { return nlxtp_disk_free_bytes(handle_.get()); }
    std::string json() const { return detail::text(nlxtp_disk_json(handle_.get())); }
    /** The C object, for what is not wrapped here. */
    const nlxtp_disk *get() const noexcept { return handle_.get(); }

private:
    // It never changes, so that copies share it.
    std::shared_ptr<nlxtp_disk> handle_;
};

/** Cancels operations from another thread. */
class cancel {
public:
    cancel() : handle_(detail::made<nlxtp_cancel, nlxtp_cancel_free>(nlxtp_cancel_new)) {}
    void now() const noexcept { nlxtp_cancel_now(handle_.get()); }
    const nlxtp_cancel *get() const noexcept { return handle_.get(); }

private:
    detail::owned<nlxtp_cancel, nlxtp_cancel_free> handle_;
};

/** Deadline, cancellation and progress of one operation. */
struct control {
    std::optional<std::chrono::milliseconds> timeout;
    /** Returns whether the operation is to go on. */
    std::function<bool(const nlxtp_progress &)> progress;
    /** Must stay for the length of the operation. */
    const nlxtp::cancel *cancel = nullptr;
};

namespace detail {

inline nlxtp_control to_c(const control &how) {
    nlxtp_control given{};
    given.size = sizeof(given);
    given.has_timeout = how.timeout.has_value();
    given.timeout_ms = milliseconds(how.timeout.value_or(std::chrono::milliseconds(0)));
    if (how.progress) {
        given.user_data = const_cast<control *>(&how);
        given.progress = [](void *data, const nlxtp_progress *progress) {
            return guarded(1, [&] { return static_cast<const control *>(data)->progress(*progress) ? 0 : 1; });
        };
    }
    given.cancel = how.cancel != nullptr ? how.cancel->get() : nullptr;
    return given;
}

} // namespace detail

/** Where an archive is read from: what nlxtp_reader is in C. */
struct reader {
    /** Puts at most `length` bytes into `buffer`, and returns how many; 0 at the end. */
    std::function<std::int64_t(void *buffer, std::size_t length)> read;
    /** Goes to a position as lseek() does, with its numbers for `whence`, and returns the new one. */
    std::function<std::int64_t(std::int64_t offset, int whence)> seek;
};

/** Where an archive is written to: takes at most `length` bytes, at least one, and returns how many. */
using writer = std::function<std::int64_t(const void *bytes, std::size_t length)>;

/** A journal on the host, in which nodes record what is done with them. */
class journal {
public:
    /** The journal in this file, which is made where there is none. */
    explicit journal(const std::string &file, bool keep_archives = false)
        : handle_(detail::made<nlxtp_journal, nlxtp_journal_free>([&](nlxtp_journal **journal, nlxtp_error **error) {
              nlxtp_journal_options options{};
              options.size = sizeof(options);
              options.keep_archives = keep_archives;
              return nlxtp_journal_open(file.c_str(), &options, journal, error);
          })) {}
    const nlxtp_journal *get() const noexcept { return handle_.get(); }

private:
    detail::owned<nlxtp_journal, nlxtp_journal_free> handle_;
};

/** What is known of a node; zeros and what is empty mean "as usual". */
struct node_options {
    nlxtp_power power = NLXTP_POWER_UNKNOWN;
    /** Tells whether the guest is on: nlxtp_power, or a negative errno value. */
    std::function<int()> power_state;
    /** Starts the monitor in a running container: 0, or a negative errno value. */
    std::function<int()> invoke_monitor;
    bool follow_links = false;
    std::uint64_t max_entries = 0;
    std::uint64_t max_bytes = 0;
    /** How long a monitor may be silent beyond what it promised; of ToMaTo's, which promises nothing. */
    std::chrono::milliseconds grace{0};
    std::chrono::milliseconds tomato_patience{0};
    /** What node::memory() gave before. */
    std::string memory;
    /** Where what is done is recorded, and under which name. Of use only while the node is opened. */
    const nlxtp::journal *journal = nullptr;
    std::string journal_name;
};

/** How a shared directory is packed: what nlxtp_download_options is in C. */
struct download_options {
    nlxtp_format format = NLXTP_FORMAT_BY_NAME;
    int level = 0;
    std::uint32_t threads = 0;
    std::uint32_t attempts = 0;
    bool replace = false;
};

/** A virtual machine or container that is controlled through its shared directory. */
class node {
public:
    explicit node(const std::string &target, node_options options = {}) : node(std::move(options)) {
        open([&](const nlxtp_node_options *given, nlxtp_node **opened, nlxtp_error **error) {
            return nlxtp_node_open(target.c_str(), given, opened, error);
        });
    }

    /** By the descriptor of the directory or disk, which stays the caller's; see nlxtp_node_open_fd(). */
    explicit node(int target, node_options options = {}) : node(std::move(options)) {
        open([&](const nlxtp_node_options *given, nlxtp_node **opened, nlxtp_error **error) {
            return nlxtp_node_open_fd(target, given, opened, error);
        });
    }

    /** Replaces the content by that of the archive at a path, and has its start script executed. */
    nlxtp::upload upload(const std::string &archive, const control &how = {}) {
        return upload(how, [&](const nlxtp_control *control, nlxtp_upload **report, nlxtp_error **error) {
            return nlxtp_node_upload(get(), archive.c_str(), control, report, error);
        });
    }

    /** The same with an archive that is open already: a file, or a pipe. */
    nlxtp::upload upload(int archive, const control &how = {}) {
        return upload(how, [&](const nlxtp_control *control, nlxtp_upload **report, nlxtp_error **error) {
            return nlxtp_node_upload_fd(get(), archive, control, report, error);
        });
    }

    /** The same with an archive that callbacks read. */
    nlxtp::upload upload(const reader &archive, const control &how = {}) {
        nlxtp_reader given{};
        given.size = sizeof(given);
        given.user_data = const_cast<reader *>(&archive);
        given.read = [](void *data, void *buffer, std::size_t length) {
            return detail::guarded(std::int64_t{detail::failed},
                                   [&] { return static_cast<const reader *>(data)->read(buffer, length); });
        };
        given.seek = [](void *data, std::int64_t offset, int whence) {
            return detail::guarded(std::int64_t{detail::failed},
                                   [&] { return static_cast<const reader *>(data)->seek(offset, whence); });
        };
        return upload(how, [&](const nlxtp_control *control, nlxtp_upload **report, nlxtp_error **error) {
            return nlxtp_node_upload_reader(get(), &given, control, report, error);
        });
    }

    nlxtp::status status() const {
        const auto status = [&](nlxtp_status **found, nlxtp_error **error) {
            return nlxtp_node_status(get(), found, error);
        };
        return nlxtp::status(detail::made<nlxtp_status, nlxtp_status_free>(status).release());
    }

    /** Waits until the run has ended one way or another. */
    nlxtp::status wait(const control &how = {}) { return wait(nullptr, nullptr, how); }

    /** The same, and shows each status that differs from the one before. That one is gone, with its copies, when
     *  the callback returns, which says whether to go on waiting. */
    nlxtp::status wait(const std::function<bool(const nlxtp::status &)> &on_change, const control &how = {}) {
        const nlxtp_change_fn changed = [](void *data, const nlxtp_status *shown) {
            const auto &callback = *static_cast<const std::function<bool(const nlxtp::status &)> *>(data);
            return detail::guarded(1, [&] { return callback(nlxtp::status(shown, nullptr)) ? 0 : 1; });
        };
        return wait(changed, const_cast<std::function<bool(const nlxtp::status &)> *>(&on_change), how);
    }

    /** Packs everything into an archive at a path. */
    nlxtp::download download(const std::string &archive, const download_options &packing = {},
                             const control &how = {}) {
        return download(packing, how, [&](const auto *options, const auto *control, auto **report, auto **error) {
            return nlxtp_node_download(get(), archive.c_str(), options, control, report, error);
        });
    }

    /** The same, written to an open descriptor. */
    nlxtp::download download(int archive, const download_options &packing = {}, const control &how = {}) {
        return download(packing, how, [&](const auto *options, const auto *control, auto **report, auto **error) {
            return nlxtp_node_download_fd(get(), archive, options, control, report, error);
        });
    }

    /** The same, written by a callback. */
    nlxtp::download download(const writer &archive, const download_options &packing = {}, const control &how = {}) {
        nlxtp_writer given{};
        given.size = sizeof(given);
        given.user_data = const_cast<writer *>(&archive);
        given.write = [](void *data, const void *bytes, std::size_t length) {
            return detail::guarded(std::int64_t{detail::failed},
                                   [&] { return (*static_cast<const writer *>(data))(bytes, length); });
        };
        return download(packing, how, [&](const auto *options, const auto *control, auto **report, auto **error) {
            return nlxtp_node_download_writer(get(), &given, options, control, report, error);
        });
    }

    /** One of the start script's outputs, as far as the status says that it is on the disk. */
    std::string output(const nlxtp::status &found, nlxtp_output which = NLXTP_OUTPUT_STDOUT) const {
        std::string all;
        char bytes[16384];
        std::size_t length = 0;
        do {
            detail::check([&](nlxtp_error **error) {
                return nlxtp_node_read_output(get(), found.get(), which, all.size(), bytes, sizeof(bytes), &length,
                                              error);
            });
            all.append(bytes, length);
        } while (length > 0);
        return all;
    }

    /** What must be remembered for the next query from another process; may be empty. */
    std::string memory() const {
        const auto json = detail::made<char, nlxtp_string_free>(
            [&](char **json, nlxtp_error **error) { return nlxtp_node_memory(get(), json, error); });
        return detail::text(json.get());
    }

    /** Why something that was done since this was asked last is not in the journal. */
    std::optional<nlxtp::error> journal_failure() const {
        auto failure = detail::made<nlxtp_error, nlxtp_error_free>([&](nlxtp_error **failure, nlxtp_error **error) {
            return nlxtp_node_journal_failure(get(), failure, error);
        });
        return failure ? std::optional<nlxtp::error>(failure.release()) : std::nullopt;
    }

    const nlxtp_node *get() const noexcept { return handle_.get(); }

private:
    explicit node(node_options options) : options_(std::make_unique<node_options>(std::move(options))) {}

    template <typename Opener> void open(Opener opener) {
        nlxtp_node_options given{};
        given.size = sizeof(given);
        given.power = options_->power;
        given.follow_links = options_->follow_links;
        given.max_entries = options_->max_entries;
        given.max_bytes = options_->max_bytes;
        given.grace_ms = detail::milliseconds(options_->grace);
        given.tomato_patience_ms = detail::milliseconds(options_->tomato_patience);
        given.user_data = options_.get();
        if (options_->power_state) {
            given.power_state = [](void *data) {
                return detail::guarded(detail::failed, static_cast<node_options *>(data)->power_state);
            };
        }
        if (options_->invoke_monitor) {
            given.invoke_monitor = [](void *data) {
                return detail::guarded(detail::failed, static_cast<node_options *>(data)->invoke_monitor);
            };
        }
        given.memory = options_->memory.empty() ? nullptr : options_->memory.c_str();
        given.journal = options_->journal != nullptr ? options_->journal->get() : nullptr;
        given.journal_name = options_->journal_name.empty() ? nullptr : options_->journal_name.c_str();
        handle_ = detail::made<nlxtp_node, nlxtp_node_free>(
            [&](nlxtp_node **opened, nlxtp_error **error) { return opener(&given, opened, error); });
    }

    template <typename Call> nlxtp::upload upload(const control &how, Call &&call) {
        const nlxtp_control given = detail::to_c(how);
        const auto uploaded = [&](nlxtp_upload **report, nlxtp_error **error) { return call(&given, report, error); };
        return nlxtp::upload(detail::made<nlxtp_upload, nlxtp_upload_free>(uploaded).release());
    }

    template <typename Call> nlxtp::download download(const download_options &packing, const control &how, Call &&call) {
        nlxtp_download_options options{};
        options.size = sizeof(options);
        options.format = packing.format;
        options.level = packing.level;
        options.threads = packing.threads;
        options.attempts = packing.attempts;
        options.replace = packing.replace;
        const nlxtp_control given = detail::to_c(how);
        const auto packed = [&](nlxtp_download **report, nlxtp_error **error) {
            return call(&options, &given, report, error);
        };
        return nlxtp::download(detail::made<nlxtp_download, nlxtp_download_free>(packed).release());
    }

    nlxtp::status wait(nlxtp_change_fn on_change, void *data, const control &how) {
        const nlxtp_control given = detail::to_c(how);
        const auto wait = [&](nlxtp_status **found, nlxtp_error **error) {
            return nlxtp_node_wait(get(), &given, on_change, data, found, error);
        };
        return nlxtp::status(detail::made<nlxtp_status, nlxtp_status_free>(wait).release());
    }

    // Before the handle, which refers to it and goes first.
    std::unique_ptr<node_options> options_;
    detail::owned<nlxtp_node, nlxtp_node_free> handle_;
};

/** What has changed about one node of a watcher. */
class change {
public:
    explicit change(nlxtp_change *given) : handle_(given, nlxtp_change_free) {}

    /** The number that watcher::add() gave. */
    std::uint64_t node() const noexcept { return nlxtp_change_node(handle_.get()); }
    /** The node's status now, unless it cannot be asked. */
    std::optional<nlxtp::status> status() const {
        const nlxtp_status *found = nlxtp_change_status(handle_.get());
        return found != nullptr ? std::optional<nlxtp::status>({found, handle_}) : std::nullopt;
    }
    /** Why it cannot be asked. */
    std::optional<nlxtp::error> error() const {
        const nlxtp_error *found = nlxtp_change_error(handle_.get());
        return found != nullptr ? std::optional<nlxtp::error>({found, handle_}) : std::nullopt;
    }
    const nlxtp_change *get() const noexcept { return handle_.get(); }

private:
    std::shared_ptr<const nlxtp_change> handle_;
};

/** How often a watcher asks its nodes; zeros mean "as usual". */
struct watcher_options {
    std::chrono::milliseconds shortest{0};
    std::chrono::milliseconds longest{0};
    std::uint64_t open_files = 0;
};

/** Watches any number of nodes in one thread. What a node's callbacks throw is told as a failure of that node. */
class watcher {
public:
    explicit watcher(const watcher_options &options = {}) {
        nlxtp_watcher_options given{};
        given.size = sizeof(given);
        given.shortest_ms = detail::milliseconds(options.shortest);
        given.longest_ms = detail::milliseconds(options.longest);
        given.open_files = options.open_files;
        handle_ = detail::made<nlxtp_watcher, nlxtp_watcher_free>([&](nlxtp_watcher **watcher, nlxtp_error **error) {
            return nlxtp_watcher_new(&given, watcher, error);
        });
    }

    /** Begins to watch a node, and returns its number here. The node can be used and moved as before,
     * but not while next() is under way. It must outlive the watcher, or be removed from it, if it has
     * callbacks. */
    std::uint64_t add(const nlxtp::node &node) {
        std::uint64_t id = 0;
        detail::check([&](nlxtp_error **error) {
            return nlxtp_watcher_add(handle_.get(), node.get(), nullptr, &id, error);
        });
        return id;
    }

    void remove(std::uint64_t id) {
        detail::check([&](nlxtp_error **error) { return nlxtp_watcher_remove(handle_.get(), id, error); });
    }

    /** How many nodes are watched. */
    std::size_t size() const noexcept { return nlxtp_watcher_count(handle_.get()); }

    /** The next change; none where nobody is watched, or wake() was called. */
    std::optional<change> next(const control &how = {}) {
        const nlxtp_control given = detail::to_c(how);
        auto found = detail::made<nlxtp_change, nlxtp_change_free>([&](nlxtp_change **change, nlxtp_error **error) {
            const nlxtp_result result = nlxtp_watcher_next(handle_.get(), &given, change, error);
            detail::thrown = nullptr;
            return result;
        });
        return found ? std::optional<change>(found.release()) : std::nullopt;
    }

    /** Calls a function with one change after the other until it returns false, nobody is watched, or
     * wake() is called. It may throw, and use the watcher and its nodes. */
    template <typename Function> void run(Function &&function) {
        for (auto change = next(); change && function(*change); change = next()) {
        }
    }

    /** Lets next() or run(), in whatever thread, return soon; or else the next one. */
    void wake() const noexcept { nlxtp_watcher_wake(handle_.get()); }

    const nlxtp_watcher *get() const noexcept { return handle_.get(); }

private:
    detail::owned<nlxtp_watcher, nlxtp_watcher_free> handle_;
};

} // namespace nlxtp

#endif
