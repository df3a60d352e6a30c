/* behaviour.c: whole runs on a directory or disk, with a guest that executes what is uploaded.
 *
 * Arguments: "disk" or "directory", the target, a folder with first.tar.gz and second.tar.gz, a command
 * that lets the guest run until the start script has ended. */
#include "testbed.h"

static nlxtp_error *error;

struct changes {
    int seen;
    nlxtp_state last;
};

static int note_change(void *data, const nlxtp_status *status) {
    struct changes *changes = data;
    changes->seen += 1;
    changes->last = nlxtp_status_state(status);
    CHECK(strlen(nlxtp_status_json(status)) > 2);
    /* To give up when the run has ended is too late. */
    return changes->last == NLXTP_STATE_FINISHED;
}

static nlxtp_status *status_of(const nlxtp_node *node) {
    nlxtp_status *status = NULL;
    OK(nlxtp_node_status(node, &status, &error));
    return status;
}

static char *upload_from_memory(const nlxtp_node *node, const char *folder, const char *name,
                                nlxtp_execution expected) {
    char *path = within(folder, name);
    struct memory archive = memory_of_file(path);
    nlxtp_reader reader = memory_reader(&archive);
    nlxtp_upload *upload = NULL;
    OK(nlxtp_node_upload_reader(node, &reader, NULL, &upload, &error));
    CHECK(nlxtp_upload_execution(upload) == expected);
    char *run = within("", nlxtp_upload_run_id(upload));
    nlxtp_upload_free(upload);
    free(archive.bytes);
    free(path);
    return run;
}

static void nothing_has_begun(const nlxtp_node *node, const char *run) {
    nlxtp_status *status = status_of(node);
    CHECK(nlxtp_status_state(status) == NLXTP_STATE_NOT_STARTED && !nlxtp_status_done(status));
    CHECK(strcmp(nlxtp_status_state_word(status), "not-started") == 0);
    CHECK(strcmp(nlxtp_status_run_id(status), run + 1) == 0 && nlxtp_status_sequence(status) == 0);
    CHECK(nlxtp_status_custom(status, NULL) == NULL && nlxtp_status_exit_code(status) == -1);
    char byte = 'x';
    size_t length = 7;
    /* There is no output yet: that is no failure. */
    OK(nlxtp_node_read_output(node, status, NLXTP_OUTPUT_STDOUT, 0, &byte, 1, &length, &error));
    CHECK(length == 0);
    nlxtp_status_free(status);
}

/* Reads an output in steps of three bytes, and from behind its end. */
static void output_is(const nlxtp_node *node, const nlxtp_status *status, nlxtp_output output,
                      const char *expected) {
    char bytes[3], all[64] = "";
    uint64_t offset = 0;
    size_t length = 0;
    do {
        OK(nlxtp_node_read_output(node, status, output, offset, bytes, sizeof(bytes), &length, &error));
        CHECK(length <= sizeof(bytes) && offset + length < sizeof(all));
        memcpy(all + offset, bytes, length);
        offset += length;
    } while (length > 0);
    CHECK(strcmp(all, expected) == 0);
    OK(nlxtp_node_read_output(node, status, output, UINT64_MAX, bytes, sizeof(bytes), &length, &error));
    CHECK(length == 0);
    OK(nlxtp_node_read_output(node, status, output, 0, NULL, 0, &length, &error));
    CHECK(length == 0);
}

static void the_first_run_has_ended(const nlxtp_node *node, const char *run) {
    struct changes changes = {0, NLXTP_STATE_UNREADABLE};
    nlxtp_control control = {0};
    nlxtp_status *status = NULL;
    control.size = sizeof(control);
    control.has_timeout = 1;
    /* No time at all is enough for what has ended. */
    OK(nlxtp_node_wait(node, &control, note_change, &changes, &status, &error));
    CHECK(changes.seen == 1 && changes.last == NLXTP_STATE_FINISHED);
    CHECK(nlxtp_status_state(status) == NLXTP_STATE_FINISHED && nlxtp_status_done(status));
    CHECK(!nlxtp_status_running(status) && strcmp(nlxtp_status_run_id(status), run + 1) == 0);
    CHECK(nlxtp_status_exit_code(status) == 3 && nlxtp_status_signal(status) == 0);
    CHECK(!nlxtp_status_timed_out(status) && nlxtp_status_sequence(status) >= 3);
    CHECK(nlxtp_status_dialect(status) == NLXTP_DIALECT_NLXTP && nlxtp_status_attempts(status) >= 1);
    CHECK(!nlxtp_status_stdout_truncated(status) && !nlxtp_status_stderr_truncated(status));
    /* Any bytes. */
    size_t length = 0;
    const void *custom = nlxtp_status_custom(status, &length);
    CHECK(length == 5 && memcmp(custom, "a\0\xff\nb", 5) == 0 && !nlxtp_status_custom_truncated(status));
    CHECK(nlxtp_status_stdout_bytes(status) == 8 && nlxtp_status_stderr_bytes(status) == 4);
    output_is(node, status, NLXTP_OUTPUT_STDOUT, "printed\n");
    output_is(node, status, NLXTP_OUTPUT_STDERR, "bad\n");
    CHECK(strstr(nlxtp_status_json(status), "\"exit_code\":3") != NULL);
    nlxtp_status_free(status);
}

/* Of a run that has ended there is nothing to remember: any other node sees the same. */
static void another_node_sees_the_same(const nlxtp_node *node, const char *target) {
    char *memory = UNTOUCHED;
    OK(nlxtp_node_memory(node, &memory, &error));
    CHECK(memory == NULL);
    nlxtp_node_options options = {0};
    options.size = sizeof(options);
    nlxtp_node *other = NULL;
    OK(nlxtp_node_open(target, &options, &other, &error));
    nlxtp_status *status = status_of(other);
    CHECK(nlxtp_status_state(status) == NLXTP_STATE_FINISHED);
    nlxtp_status_free(status);
    nlxtp_node_free(other);
    other = UNTOUCHED;
    options.memory = "[";
    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_node_open(target, &options, &other, &error));
    CHECK(other == UNTOUCHED);
}

/* By all ways, in all formats; what was written in pieces is the same. */
static void results_come_home(const nlxtp_node *node, const char *folder) {
    struct memory content = content_of(node);
    CHECK(holds(&content, "a result") && holds(&content, "printed") && holds(&content, "auto_exec.sh"));
    struct memory pieces = {0};
    pieces.at_once = 11;
    nlxtp_writer writer = memory_writer(&pieces);
    nlxtp_download *download = NULL;
    OK(nlxtp_node_download_writer(node, &writer, &AS_TAR, NULL, &download, &error));
    CHECK(pieces.length == content.length && memcmp(pieces.bytes, content.bytes, content.length) == 0);
    CHECK(nlxtp_download_archive_bytes(download) == content.length);
    CHECK(nlxtp_download_files(download) >= 7 && nlxtp_download_directories(download) >= 1);
    CHECK(nlxtp_download_bytes(download) > 0 && nlxtp_download_left_out(download) == 0);
    CHECK(strstr(nlxtp_download_json(download), "\"files\"") != NULL);
    nlxtp_download_free(download);
    const struct {
        const char *name;
        nlxtp_format format;
        const char *magic;
    } formats[] = {
        {"by-name.tar.zst", NLXTP_FORMAT_BY_NAME, "\x28\xb5\x2f\xfd"},
        {"by-name", NLXTP_FORMAT_BY_NAME, "\x1f\x8b"},
        {"named.tar", NLXTP_FORMAT_TAR_GZ, "\x1f\x8b"},
        {"other.tar.gz", NLXTP_FORMAT_TAR_ZST, "\x28\xb5\x2f\xfd"},
    };
    for (size_t i = 0; i < sizeof(formats) / sizeof(*formats); i++) {
        char *path = within(folder, formats[i].name);
        nlxtp_download_options options = REPLACING;
        options.format = formats[i].format;
        OK(nlxtp_node_download(node, path, &options, NULL, NULL, &error));
        struct memory archive = memory_of_file(path);
        CHECK(memcmp(archive.bytes, formats[i].magic, strlen(formats[i].magic)) == 0);
        free(archive.bytes);
        free(path);
    }
    free(pieces.bytes);
    free(content.bytes);
}

/* What is free of a disk; a directory has none. */
static uint64_t free_bytes(const char *target, int is_disk) {
    nlxtp_disk *disk = NULL;
    if (!is_disk) {
        FAILS(NLXTP_ERROR_NOT_A_TARGET, nlxtp_disk_open(target, NULL, &disk, &error));
        return 0;
    }
    OK(nlxtp_disk_open(target, NULL, &disk, &error));
    uint64_t free_bytes = nlxtp_disk_free_bytes(disk), capacity = nlxtp_disk_capacity_bytes(disk);
    CHECK(free_bytes <= capacity && free_bytes % nlxtp_disk_cluster_bytes(disk) == 0);
    CHECK(strcmp(nlxtp_disk_label(disk), "NLXTP") == 0 && !nlxtp_disk_unfinished(disk));
    nlxtp_disk_free(disk);
    return free_bytes;
}

static void the_old_is_gone(const nlxtp_node *node) {
    struct memory content = content_of(node);
    CHECK(!holds(&content, "a result") && !holds(&content, "exec_status") && holds(&content, "kill"));
    free(content.bytes);
}

static void the_second_run_was_killed(const nlxtp_node *node) {
    nlxtp_status *status = status_of(node);
    CHECK(nlxtp_status_state(status) == NLXTP_STATE_FINISHED);
    CHECK(nlxtp_status_signal(status) == 9 && nlxtp_status_exit_code(status) == -1);
    CHECK(nlxtp_status_custom(status, NULL) == NULL);
    nlxtp_status_free(status);
}

int main(int count, char **arguments) {
    CHECK(count == 5);
    const char *target = arguments[2], *folder = arguments[3], *guest = arguments[4];
    int is_disk = strcmp(arguments[1], "disk") == 0;
    struct testbed testbed = {0};
    nlxtp_node_options options = testbed_options(&testbed);
    nlxtp_node *node = NULL;
    OK(nlxtp_node_open(target, &options, &node, &error));
    testbed.power = is_disk ? NLXTP_POWER_OFF : NLXTP_POWER_ON;
    nlxtp_execution expected = is_disk ? NLXTP_EXECUTION_AT_BOOT : NLXTP_EXECUTION_INVOKED;

    uint64_t empty = free_bytes(target, is_disk);
    char *run = upload_from_memory(node, folder, "first.tar.gz", expected);
    uint64_t uploaded = free_bytes(target, is_disk);
    /* The archive's file of 40000 bytes, and others. */
    CHECK(!is_disk || uploaded + 40000 < empty);
    CHECK(testbed.invoke_calls == !is_disk && testbed.power_calls >= 1);
    nothing_has_begun(node, run);
    CHECK(system(guest) == 0);
    the_first_run_has_ended(node, run);
    another_node_sees_the_same(node, target);
    results_come_home(node, folder);
    /* The guest has written, too. */
    CHECK(!is_disk || free_bytes(target, is_disk) < uploaded);

    char *next = upload_from_memory(node, folder, "second.tar.gz", expected);
    CHECK(strcmp(run, next) != 0);
    the_old_is_gone(node);
    CHECK(!is_disk || free_bytes(target, is_disk) > uploaded);
    nothing_has_begun(node, next);
    CHECK(system(guest) == 0);
    the_second_run_was_killed(node);
    free(next);
    free(run);
    nlxtp_node_free(node);
    return 0;
}
