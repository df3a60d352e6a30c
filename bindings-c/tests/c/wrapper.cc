// wrapper.cc: what nlxtp.hpp adds to the C library: ownership, exceptions, callbacks of any kind.
//
// Arguments: a directory, a disk, a folder with first.tar.gz.
#include "check.h"

#include <nlxtp.hpp>

#include <cstring>
#include <fcntl.h>
#include <sstream>
#include <unistd.h>

// What no library throws.
struct odd {
    int number;
};

template <typename Thrown, typename Function> static Thrown thrown_by(Function &&function) {
    try {
        function();
    } catch (const Thrown &thrown) {
        return thrown;
    }
    CHECK(!"it throws");
    std::abort();
}

static std::string packed(nlxtp::node &node, nlxtp_format format = NLXTP_FORMAT_TAR) {
    std::string archive;
    nlxtp::download_options packing;
    packing.format = format;
    packing.threads = 2;
    const auto report = node.download(
        [&](const void *bytes, std::size_t length) {
            archive.append(static_cast<const char *>(bytes), length);
            return static_cast<std::int64_t>(length);
        },
        packing);
    CHECK(report.archive_bytes() == archive.size() && report.attempts() == 1 && report.settled());
    return archive;
}

static nlxtp::reader reading(std::istringstream &archive) {
    return {[&](void *buffer, std::size_t length) {
                archive.read(static_cast<char *>(buffer), static_cast<std::streamsize>(length));
                const auto read = archive.gcount();
                archive.clear();
                return static_cast<std::int64_t>(read);
            },
            [&](std::int64_t offset, int whence) {
                archive.seekg(offset, whence == SEEK_SET ? std::ios::beg : whence == SEEK_CUR ? std::ios::cur : std::ios::end);
                return static_cast<std::int64_t>(archive.tellg());
            }};
}

static void archives_come_and_go_by_all_ways(nlxtp::node &node, const std::string &folder) {
    const std::string first = folder + "/first.tar.gz", same = folder + "/same.tar";
    const auto by_path = node.upload(first);
    CHECK(by_path.run_id().size() == 32 && by_path.start_script() == "auto_exec.sh");
    // It is not executable.
    CHECK(by_path.warnings().size() == 1 && by_path.warnings()[0].find("auto_exec.sh: ") == 0);
    const std::string content = packed(node);

    const int file = open(first.c_str(), O_RDONLY | O_CLOEXEC);
    const auto by_descriptor = node.upload(file);
    CHECK(close(file) == 0 && by_descriptor.run_id() != by_path.run_id());
    std::size_t length = 0;
    char *bytes = slurp(first.c_str(), &length);
    std::istringstream archive(std::string(bytes, length));
    std::free(bytes);
    const auto by_reader = node.upload(reading(archive));
    CHECK(node.status().run_id() == by_reader.run_id() && by_reader.entries() == by_path.entries());

    nlxtp::download_options packing;
    packing.replace = true;
    const auto report = node.download(same, packing);
    CHECK(report.files() == 3 && report.directories() == 0 && report.archive_bytes() == packed(node).size());
    const int target = open((folder + "/by-descriptor").c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    packing.format = NLXTP_FORMAT_TAR;
    node.download(target, packing);
    CHECK(lseek(target, 0, SEEK_END) == static_cast<off_t>(content.size()) && close(target) == 0);
    CHECK(thrown_by<nlxtp::error>([&] { node.download(same); }).code() == NLXTP_ERROR_EXISTS);
    packing.level = 1;
    CHECK(thrown_by<nlxtp::error>([&] { node.download(same, packing); }).code() == NLXTP_ERROR_INVALID_INPUT);
}

// What a callback throws comes out of the call, whichever thread of the library's has to do with it.
static void exceptions_come_through(nlxtp::node &node, const std::string &folder) {
    const std::string before = packed(node);
    nlxtp::reader broken{[](void *, std::size_t) -> std::int64_t { throw odd{1}; }, [](auto offset, int) { return offset; }};
    CHECK(thrown_by<odd>([&] { node.upload(broken); }).number == 1);
    broken.seek = [](std::int64_t, int) -> std::int64_t { throw odd{2}; };
    CHECK(thrown_by<odd>([&] { node.upload(broken); }).number == 2);
    for (const auto format : {NLXTP_FORMAT_TAR, NLXTP_FORMAT_TAR_GZ, NLXTP_FORMAT_TAR_ZST}) {
        nlxtp::download_options packing;
        packing.format = format;
        packing.threads = 4;
        const auto full = [](const void *, std::size_t) -> std::int64_t { throw odd{3}; };
        CHECK(thrown_by<odd>([&] { node.download(full, packing); }).number == 3);
    }
    nlxtp::control control;
    control.progress = [](const nlxtp_progress &) -> bool { throw odd{4}; };
    CHECK(thrown_by<odd>([&] { node.upload(folder + "/first.tar.gz", control); }).number == 4);
    control.progress = [](const nlxtp_progress &) { return false; };
    CHECK(thrown_by<nlxtp::error>([&] { node.upload(folder + "/first.tar.gz", control); }).code() == NLXTP_ERROR_CANCELLED);
    CHECK(packed(node) == before);
    // An operation whose last report throws may have succeeded; nothing of it is lost then.
    control.progress = [](const nlxtp_progress &now) -> bool {
        return now.phase != NLXTP_PHASE_FLUSHING ? true : throw odd{5};
    };
    CHECK(thrown_by<odd>([&] { node.upload(folder + "/first.tar.gz", control); }).number == 5);
    CHECK(thrown_by<odd>([&] { node.wait([](const nlxtp::status &) -> bool { throw odd{6}; }); }).number == 6);
    std::string seen;
    const auto give_up = [&](const nlxtp::status &now) {
        seen += now.word() + ";";
        return false;
    };
    CHECK(thrown_by<nlxtp::error>([&] { node.wait(give_up); }).code() == NLXTP_ERROR_CANCELLED);
    CHECK(seen == "not-started;");
}

static void a_testbed_that_fails(const std::string &target, const std::string &folder) {
    int power = NLXTP_POWER_ON, invoked = 0;
    nlxtp::node_options options;
    options.power_state = [&]() -> int { return power >= 0 ? power : throw odd{power}; };
    options.invoke_monitor = [&]() -> int { return invoked-- > 0 ? -ESRCH : throw odd{invoked}; };
    options.grace = std::chrono::milliseconds(100);
    options.tomato_patience = std::chrono::milliseconds(200);
    nlxtp::node node(target, std::move(options));
    CHECK(thrown_by<odd>([&] { node.upload(folder + "/first.tar.gz"); }).number == -1);
    invoked = 1;
    const auto stands = thrown_by<nlxtp::error>([&] { node.upload(folder + "/first.tar.gz"); });
    CHECK(stands.code() == NLXTP_ERROR_INVOKE_FAILED && stands.upload()->run_id() == node.status().run_id());
    CHECK(!thrown_by<nlxtp::error>([&] { node.upload("absent"); }).upload());
    power = -7;
    CHECK(thrown_by<odd>([&] { node.status(); }).number == -7);
    // A watcher tells it of the node, and goes on.
    nlxtp::watcher watcher;
    const auto id = watcher.add(node);
    const auto change = watcher.next();
    CHECK(change->node() == id && change->error()->code() == NLXTP_ERROR_IO && !change->status());
    watcher.remove(id);
    power = NLXTP_POWER_ON;
    CHECK(node.status().state() == NLXTP_STATE_NOT_STARTED && !node.status().progress());
}

static void what_is_done_is_recorded(const std::string &target, const std::string &folder) {
    nlxtp::node_options options;
    const nlxtp::journal journal(folder + "/cpp.jsonl");
    options.journal = &journal;
    CHECK(thrown_by<nlxtp::error>([&] { nlxtp::node(target, options); }).code() == NLXTP_ERROR_INVALID_INPUT);
    options.journal_name = "client";
    nlxtp::node node(target, options);
    const auto run = node.upload(folder + "/first.tar.gz").run_id();
    CHECK(!node.journal_failure());
    char *lines = slurp((folder + "/cpp.jsonl").c_str(), nullptr);
    CHECK(std::strstr(lines, run.c_str()) != nullptr && std::strstr(lines, "\"client\"") != nullptr);
    std::free(lines);
}

static void disks_are_described(const std::string &path) {
    const nlxtp::disk disk(path);
    const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    const nlxtp::disk same(descriptor);
    CHECK(close(descriptor) == 0 && same.json() == disk.json());
    CHECK(disk.bytes() == disk.partition_offset() + disk.partition_bytes() && disk.fat_bits() >= 12);
    CHECK(disk.capacity_bytes() % disk.cluster_bytes() == 0);
    CHECK(disk.label() == "NLXTP" && disk.free_bytes() == disk.capacity_bytes() && !disk.unfinished());
}

int main(int count, char **arguments) {
    CHECK(count == 4);
    const std::string directory = arguments[1], disk = arguments[2], folder = arguments[3];
    disks_are_described(disk);
    for (const auto &target : {directory, disk}) {
        nlxtp::node node(target);
        archives_come_and_go_by_all_ways(node, folder);
        exceptions_come_through(node, folder);
    }
    a_testbed_that_fails(directory, folder);
    what_is_done_is_recorded(directory, folder);
    return 0;
}
