/* nlxtp.hpp: nlxtp.h for C++17. Handles free themselves, failures are exceptions, callbacks are any
 * callable. Header only; link with libnlxtp.
 */
#ifndef NLXTP_HPP
#define NLXTP_HPP

#include "nlxtp.h"

#include <chrono>
#include <cstdint>
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

// By reference: the call that makes the result also makes the error.
inline void check(nlxtp_result result, nlxtp_error *const &given) {
    if (result != NLXTP_OK) {
        throw error(given);
    }
}

template <typename T, void (*Free)(T *)> struct freer {
    void operator()(T *handle) const noexcept { Free(handle); }
};

template <typename T, void (*Free)(T *)> using owned = std::unique_ptr<T, freer<T, Free>>;

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
        nlxtp_error *error = nullptr;
        nlxtp_disk *opened = nullptr;
        detail::check(nlxtp_disk_open(target.c_str(), control, &opened, &error), error);
        handle_.reset(opened, nlxtp_disk_free);
    }

    /** By the descriptor of the image file or block device, which stays the caller's. */
    explicit disk(int target, const nlxtp_control *control = nullptr) {
        nlxtp_error *error = nullptr;
        nlxtp_disk *opened = nullptr;
        detail::check(nlxtp_disk_open_fd(target, control, &opened, &error), error);
        handle_.reset(opened, nlxtp_disk_free);
    }

    std::uint64_t bytes() const noexcept { return nlxtp_disk_bytes(handle_.get()); }
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
    cancel() {
        nlxtp_error *error = nullptr;
        nlxtp_cancel *made = nullptr;
        detail::check(nlxtp_cancel_new(&made, &error), error);
        handle_.reset(made);
    }
    void now() const noexcept { nlxtp_cancel_now(handle_.get()); }
    const nlxtp_cancel *get() const noexcept { return handle_.get(); }

private:
    detail::owned<nlxtp_cancel, nlxtp_cancel_free> handle_;
};

/** Deadline, cancellation and progress of one operation. */
struct control {
    std::optional<std::chrono::milliseconds> timeout;
    /** Returns whether the operation is to go on. It must not throw. */
    std::function<bool(const nlxtp_progress &)> progress;
    /** Must stay for the length of the operation. */
    const nlxtp::cancel *cancel = nullptr;
};

namespace detail {

inline nlxtp_control to_c(const control &how) {
    nlxtp_control given{};
    given.size = sizeof(given);
    given.has_timeout = how.timeout.has_value();
    if (how.timeout) {
        given.timeout_ms = static_cast<std::uint64_t>(how.timeout->count() < 0 ? 0 : how.timeout->count());
    }
    if (how.progress) {
        given.user_data = const_cast<control *>(&how);
        given.progress = [](void *data, const nlxtp_progress *progress) {
            return static_cast<const control *>(data)->progress(*progress) ? 0 : 1;
        };
    }
    given.cancel = how.cancel != nullptr ? how.cancel->get() : nullptr;
    return given;
}

} // namespace detail

/** What is known of a node. */
struct node_options {
    nlxtp_power power = NLXTP_POWER_UNKNOWN;
    /** Tells whether the guest is on: nlxtp_power, or a negative errno value. It must not throw. */
    std::function<int()> power_state;
    /** Starts the monitor in a running container: 0, or a negative errno value. It must not throw. */
    std::function<int()> invoke_monitor;
    bool follow_links = false;
    std::uint64_t max_entries = 0;
    std::uint64_t max_bytes = 0;
    /** What node::memory() gave before. */
    std::string memory;
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

    /** Replaces the content by the archive's, and has its start script executed. */
    nlxtp::upload upload(const std::string &archive, const control &how = {}) {
        nlxtp_error *error = nullptr;
        nlxtp_upload *report = nullptr;
        const nlxtp_control given = detail::to_c(how);
        detail::check(nlxtp_node_upload(handle_.get(), archive.c_str(), &given, &report, &error), error);
        return nlxtp::upload(report);
    }

    nlxtp::status status() const {
        nlxtp_error *error = nullptr;
        nlxtp_status *found = nullptr;
        detail::check(nlxtp_node_status(handle_.get(), &found, &error), error);
        return nlxtp::status(found);
    }

    /** Waits until the run has ended one way or another. */
    nlxtp::status wait(const control &how = {}) {
        nlxtp_error *error = nullptr;
        nlxtp_status *found = nullptr;
        const nlxtp_control given = detail::to_c(how);
        detail::check(nlxtp_node_wait(handle_.get(), &given, nullptr, nullptr, &found, &error), error);
        return nlxtp::status(found);
    }

    /** Packs everything into an archive. */
    nlxtp::download download(const std::string &archive, bool replace = false, const control &how = {},
                         nlxtp_format format = NLXTP_FORMAT_BY_NAME) {
        nlxtp_error *error = nullptr;
        nlxtp_download *report = nullptr;
        const nlxtp_control given = detail::to_c(how);
        detail::check(nlxtp_node_download(handle_.get(), archive.c_str(), format, replace, &given, &report,
                                          &error),
                      error);
        return nlxtp::download(report);
    }

    /** One of the start script's outputs, as far as the status says that it is on the disk. */
    std::string output(const nlxtp::status &found, nlxtp_output which = NLXTP_OUTPUT_STDOUT) const {
        std::string all;
        char bytes[16384];
        std::size_t length = 0;
        do {
            nlxtp_error *error = nullptr;
            detail::check(nlxtp_node_read_output(handle_.get(), found.get(), which, all.size(), bytes,
                                                 sizeof(bytes), &length, &error),
                          error);
            all.append(bytes, length);
        } while (length > 0);
        return all;
    }

    /** What must be remembered for the next query from another process; may be empty. */
    std::string memory() const {
        nlxtp_error *error = nullptr;
        char *json = nullptr;
        detail::check(nlxtp_node_memory(handle_.get(), &json, &error), error);
        const detail::owned<char, nlxtp_string_free> owner(json);
        return detail::text(json);
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
        given.user_data = options_.get();
        if (options_->power_state) {
            given.power_state = [](void *data) { return static_cast<node_options *>(data)->power_state(); };
        }
        if (options_->invoke_monitor) {
            given.invoke_monitor = [](void *data) {
                return static_cast<node_options *>(data)->invoke_monitor();
            };
        }
        given.memory = options_->memory.empty() ? nullptr : options_->memory.c_str();
        nlxtp_error *error = nullptr;
        nlxtp_node *opened = nullptr;
        detail::check(opener(&given, &opened, &error), error);
        handle_.reset(opened);
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

/** Watches any number of nodes in one thread. */
class watcher {
public:
    explicit watcher(const watcher_options &options = {}) {
        nlxtp_watcher_options given{};
        given.size = sizeof(given);
        given.shortest_ms = static_cast<std::uint64_t>(options.shortest.count());
        given.longest_ms = static_cast<std::uint64_t>(options.longest.count());
        given.open_files = options.open_files;
        nlxtp_error *error = nullptr;
        nlxtp_watcher *made = nullptr;
        detail::check(nlxtp_watcher_new(&given, &made, &error), error);
        handle_.reset(made);
    }

    /** Begins to watch a node, and returns its number here. The node can be used and moved as before,
     * but not while next() is under way. It must outlive the watcher, or be removed from it, if it has
     * callbacks. */
    std::uint64_t add(const nlxtp::node &node) {
        nlxtp_error *error = nullptr;
        std::uint64_t id = 0;
        detail::check(nlxtp_watcher_add(handle_.get(), node.get(), nullptr, &id, &error), error);
        return id;
    }

    void remove(std::uint64_t id) {
        nlxtp_error *error = nullptr;
        detail::check(nlxtp_watcher_remove(handle_.get(), id, &error), error);
    }

    /** How many nodes are watched. */
    std::size_t size() const noexcept { return nlxtp_watcher_count(handle_.get()); }

    /** The next change; none where nobody is watched, or wake() was called. */
    std::optional<change> next(const control &how = {}) {
        nlxtp_error *error = nullptr;
        nlxtp_change *found = nullptr;
        const nlxtp_control given = detail::to_c(how);
        detail::check(nlxtp_watcher_next(handle_.get(), &given, &found, &error), error);
        return found != nullptr ? std::optional<change>(found) : std::nullopt;
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
