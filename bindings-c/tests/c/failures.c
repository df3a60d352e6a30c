/* failures.c: each thing that can fail does, at every moment at which it can. The content stays as it was,
 * outputs are not written, the error tells everything, and the node is of use afterwards.
 *
 * Arguments: "disk" or "directory", the target, a folder with first.tar.gz, second.tar.gz, refused.tar
 * and large.tar.gz, which holds more than the disk. */
#include "testbed.h"

#include <fcntl.h>
#include <unistd.h>

static nlxtp_error *error;
static int is_disk;

/* What an error must tell; NULL and "" are for what it must not. */
struct told {
    nlxtp_result code;
    const char *kind;
    const char *operation;
    const char *path;
    int has_hint;
    bool may_retry;
};

static void check_error(const struct told *told, nlxtp_result result) {
    const char *text = nlxtp_error_text(error), *message = nlxtp_error_message(error);
    const char *path = nlxtp_error_path(error), *hint = nlxtp_error_hint(error);
    int right = result == told->code && nlxtp_error_code(error) == told->code && text != NULL &&
                message != NULL && strcmp(nlxtp_error_kind(error), told->kind) == 0 &&
                strcmp(nlxtp_error_operation(error), told->operation) == 0 &&
                nlxtp_error_may_retry(error) == told->may_retry && strstr(text, message) != NULL &&
                strchr(message, '\n') == NULL && (hint != NULL) == (told->has_hint != 0);
    right = right && (hint == NULL || strstr(text, hint) != NULL);
    right = right && (told->path == NULL ? path == NULL : path != NULL && strstr(path, told->path) != NULL);
    right = right && (told->path == NULL || strstr(text, told->path) != NULL);
    right = right && (told->code == NLXTP_ERROR_REFUSED) == (nlxtp_error_refusal_count(error) > 0);
    if (!right) {
        fprintf(stderr, "%d instead of %d: kind %s, operation %s, path %s, hint %s, retry %d: %s\n", (int)result,
                (int)told->code, nlxtp_error_kind(error), nlxtp_error_operation(error), path ? path : "-",
                hint ? hint : "-", (int)nlxtp_error_may_retry(error), text ? text : "-");
        exit(1);
    }
    nlxtp_error_free(error);
    error = NULL;
}

/* An upload that must fail, from memory or a path, and leaves everything as it was. */
static void upload_fails(nlxtp_node *node, const char *folder, const char *name, const nlxtp_control *control,
                         const struct memory *content, const struct told *told) {
    nlxtp_upload *upload = UNTOUCHED;
    char *path = within(folder, name);
    check_error(told, nlxtp_node_upload(node, path, control, &upload, &error));
    CHECK(upload == UNTOUCHED);
    check_content(node, content);
    free(path);
}

static void archives_that_are_not_taken(nlxtp_node *node, const char *target, const char *folder,
                                        const struct memory *content) {
    const struct told absent = {NLXTP_ERROR_NOT_FOUND, "not-found", "node_upload", "absent.tar", 0, false};
    const struct told bad = {NLXTP_ERROR_BAD_ARCHIVE, "bad-archive", "node_upload", NULL, 1, false};
    const struct told refused = {NLXTP_ERROR_REFUSED, "refused", "node_upload", NULL, 0, false};
    const struct told small = {NLXTP_ERROR_TOO_SMALL, "too-small", "node_upload", "disk", 1, false};
    upload_fails(node, folder, "absent.tar", NULL, content, &absent);
    upload_fails(node, folder, "truncated.tar.gz", NULL, content, &bad);
    upload_fails(node, folder, "noise", NULL, content, &bad);
    upload_fails(node, folder, "refused.tar", NULL, content, &refused);
    if (is_disk) {
        upload_fails(node, folder, "large.tar.gz", NULL, content, &small);
    }
    /* Limits are the caller's. */
    nlxtp_node_options options = {0};
    options.size = sizeof(options);
    options.max_entries = 2;
    options.power = NLXTP_POWER_OFF;
    nlxtp_node *limited = NULL;
    OK(nlxtp_node_open(target, &options, &limited, &error));
    char *first = within(folder, "first.tar.gz");
    CHECK(nlxtp_node_upload(limited, first, NULL, NULL, &error) == NLXTP_ERROR_REFUSED);
    CHECK(nlxtp_error_refusal_count(error) >= 1 && strlen(nlxtp_error_refusal_reason(error, 0)) > 0);
    CHECK(strlen(nlxtp_error_refusal_entry(error, 0)) > 0);
    CHECK(nlxtp_error_refusal_entry(error, SIZE_MAX) == NULL);
    nlxtp_error_free(error);
    error = NULL;
    check_content(node, content);
    free(first);
    nlxtp_node_free(limited);
}

/* A reader that fails at its n-th call, for every n. */
static void readers_that_fail(nlxtp_node *node, const char *folder, const struct memory *content) {
    char *path = within(folder, "first.tar.gz");
    struct memory archive = memory_of_file(path);
    int failed = 0;
    archive.at_once = archive.length / 5;
    archive.failure = -EIO;
    for (nlxtp_result result = NLXTP_ERROR_IO; result != NLXTP_OK; failed++) {
        nlxtp_reader reader = memory_reader(&archive);
        nlxtp_upload *upload = UNTOUCHED;
        archive.calls = 0;
        archive.position = 3;
        archive.fail_at = failed + 1;
        result = nlxtp_node_upload_reader(node, &reader, NULL, &upload, &error);
        if (result != NLXTP_OK) {
            CHECK(result == NLXTP_ERROR_IO && upload == UNTOUCHED);
            CHECK(strstr(nlxtp_error_text(error), strerror(EIO)) != NULL);
            nlxtp_error_free(error);
            error = NULL;
            check_content(node, content);
        } else {
            nlxtp_upload_free(upload);
        }
    }
    CHECK(failed >= 5);
    free(archive.bytes);
    free(path);
}

/* A writer that fails at its n-th call, for every n. */
static void writers_that_fail(nlxtp_node *node) {
    int failed = 0;
    for (nlxtp_result result = NLXTP_ERROR_IO; result != NLXTP_OK; failed++) {
        struct memory archive = {0};
        nlxtp_writer writer = memory_writer(&archive);
        nlxtp_download *download = UNTOUCHED;
        archive.at_once = 9000;
        archive.fail_at = failed + 1;
        archive.failure = failed % 2 == 0 ? -ENOSPC : -EPIPE;
        result = nlxtp_node_download_writer(node, &writer, &AS_TAR, NULL, &download, &error);
        if (result != NLXTP_OK) {
            CHECK(result == (failed % 2 == 0 ? NLXTP_ERROR_NO_SPACE : NLXTP_ERROR_IO) && download == UNTOUCHED);
            CHECK(strcmp(nlxtp_error_operation(error), "node_download_writer") == 0);
            nlxtp_error_free(error);
            error = NULL;
        } else {
            nlxtp_download_free(download);
        }
        free(archive.bytes);
    }
    CHECK(failed >= 5);
    /* What takes nothing, takes more than there is, or a number that is no errno. */
    const int64_t wrong[] = {0, INT64_MAX, INT64_MIN};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        struct memory archive = {0};
        nlxtp_writer writer = memory_writer(&archive);
        archive.fail_at = 1;
        archive.failure = wrong[i];
        FAILS(NLXTP_ERROR_IO, nlxtp_node_download_writer(node, &writer, &AS_TAR, NULL, NULL, &error));
        free(archive.bytes);
    }
}

/* An upload and a download that are cancelled at their n-th report, for every n, in both ways. */
static void reports_that_cancel(nlxtp_node *node, struct testbed *testbed, const char *folder,
                                const struct memory *content) {
    char *archive = within(folder, "second.tar.gz"), *results = within(folder, "cancelled.tar.gz");
    const struct told told = {NLXTP_ERROR_CANCELLED, "cancelled", "node_upload", NULL, 0, false};
    int cancelled = 0;
    for (nlxtp_result result = NLXTP_ERROR_CANCELLED; result != NLXTP_OK; cancelled++) {
        nlxtp_control control = testbed_control(testbed);
        nlxtp_upload *upload = UNTOUCHED;
        testbed->reports = 0;
        testbed->cancel_at = cancelled / 2 + 1;
        if (cancelled % 2 == 1) {
            OK(nlxtp_cancel_new(&testbed->cancel, &error));
            control.cancel = testbed->cancel;
        }
        result = nlxtp_node_upload(node, archive, &control, &upload, &error);
        nlxtp_cancel_free(testbed->cancel);
        testbed->cancel = NULL;
        if (result != NLXTP_OK) {
            check_error(&told, result);
            CHECK(upload == UNTOUCHED);
            check_content(node, content);
        } else {
            nlxtp_upload_free(upload);
        }
    }
    CHECK(cancelled >= 3);
    nlxtp_control control = testbed_control(testbed);
    testbed->reports = 0;
    testbed->cancel_at = 1;
    FAILS(NLXTP_ERROR_CANCELLED, nlxtp_node_download(node, results, NULL, &control, NULL, &error));
    CHECK(access(results, F_OK) != 0);
    testbed->cancel_at = 0;
    free(results);
    free(archive);
}

/* A power state that cannot be found out at the n-th question, for every n; and one that forbids. */
static void power_states_that_fail(nlxtp_node *node, struct testbed *testbed, const char *folder,
                                   const struct memory *content) {
    const struct told down = {NLXTP_ERROR_IO, "io", "node_upload", NULL, 0, false};
    const struct told wrong = {NLXTP_ERROR_INVALID_INPUT, "invalid-input", "node_upload", NULL, 0, false};
    const struct told on = {NLXTP_ERROR_GUEST_ON, "guest-on", "node_upload", NULL, 1, false};
    char *archive = within(folder, "second.tar.gz");
    for (int asked = 1; asked <= 2; asked++) {
        testbed->power_calls = 0;
        testbed->power_fail_at = asked;
        testbed->power_failure = -EHOSTDOWN;
        upload_fails(node, folder, "second.tar.gz", NULL, content, &down);
        CHECK(testbed->power_calls == asked);
        testbed->power_calls = 0;
        testbed->power_failure = 17;
        upload_fails(node, folder, "second.tar.gz", NULL, content, &wrong);
    }
    nlxtp_status *status = UNTOUCHED;
    testbed->power_calls = 0;
    testbed->power_fail_at = 1;
    testbed->power_failure = -EHOSTDOWN;
    FAILS(NLXTP_ERROR_IO, nlxtp_node_status(node, &status, &error));
    testbed->power_calls = 0;
    FAILS(NLXTP_ERROR_IO, nlxtp_node_wait(node, NULL, NULL, NULL, &status, &error));
    CHECK(status == UNTOUCHED);
    testbed->power_fail_at = 0;
    if (is_disk) {
        testbed->power = NLXTP_POWER_ON;
        upload_fails(node, folder, "second.tar.gz", NULL, content, &on);
        /* Turned on while the archive was read. */
        testbed->power = NLXTP_POWER_OFF;
        testbed->power_calls = 0;
        testbed->power_fail_at = 2;
        testbed->power_failure = NLXTP_POWER_ON;
        upload_fails(node, folder, "second.tar.gz", NULL, content, &on);
        testbed->power_fail_at = 0;
    }
    free(archive);
}

/* The upload stands, says the error, and does. */
static void a_monitor_that_cannot_be_invoked(nlxtp_node *node, struct testbed *testbed, const char *folder) {
    const struct told told = {NLXTP_ERROR_INVOKE_FAILED, "invoke-failed", "node_upload", NULL, 0, false};
    char *archive = within(folder, "second.tar.gz");
    nlxtp_upload *upload = UNTOUCHED;
    testbed->power = NLXTP_POWER_ON;
    testbed->invoke = -ESRCH;
    check_error(&told, nlxtp_node_upload(node, archive, NULL, &upload, &error));
    CHECK(upload == UNTOUCHED);
    struct memory content = content_of(node);
    CHECK(holds(&content, "kill"));
    free(content.bytes);
    testbed->invoke = 0;
    OK(nlxtp_node_upload(node, archive, NULL, NULL, &error));
    free(archive);
}

/* Cancels when all of the archive was read: a disk in place has neither the old content nor the new then. */
static int cancel_when_flushing(void *data, const nlxtp_progress *progress) {
    (void)data;
    return progress->phase == NLXTP_PHASE_FLUSHING;
}

/* What is known by a descriptor is written in place: until the next upload it holds nothing. */
static void an_upload_in_place_that_is_cut_off(const char *target, const char *folder) {
    char *archive = within(folder, "first.tar.gz");
    nlxtp_node *node = NULL;
    nlxtp_status *status = UNTOUCHED;
    nlxtp_disk *disk = NULL;
    nlxtp_control control = {0};
    control.size = sizeof(control);
    control.progress = cancel_when_flushing;
    int descriptor = open(target, O_RDWR);
    CHECK(descriptor >= 0);
    OK(nlxtp_node_open_fd(descriptor, NULL, &node, &error));
    FAILS(NLXTP_ERROR_CANCELLED, nlxtp_node_upload(node, archive, &control, NULL, &error));
    for (int by_path = 0; by_path < 2; by_path++) {
        OK(by_path ? nlxtp_disk_open(target, NULL, &disk, &error) : nlxtp_disk_open_fd(descriptor, NULL, &disk, &error));
        CHECK(nlxtp_disk_unfinished(disk) && nlxtp_disk_partition_bytes(disk) > 0);
        CHECK(nlxtp_disk_fat_bits(disk) == 0 && nlxtp_disk_cluster_bytes(disk) == 0);
        CHECK(nlxtp_disk_label(disk) == NULL && nlxtp_disk_serial(disk) == 0);
        CHECK(nlxtp_disk_capacity_bytes(disk) == 0 && nlxtp_disk_free_bytes(disk) == 0);
        nlxtp_disk_free(disk);
    }
    FAILS(NLXTP_ERROR_UNFINISHED, nlxtp_node_status(node, &status, &error));
    CHECK(status == UNTOUCHED);
    OK(nlxtp_node_upload(node, archive, NULL, NULL, &error));
    OK(nlxtp_disk_open_fd(descriptor, NULL, &disk, &error));
    CHECK(!nlxtp_disk_unfinished(disk) && nlxtp_disk_free_bytes(disk) < nlxtp_disk_capacity_bytes(disk));
    nlxtp_disk_free(disk);
    nlxtp_node_free(node);
    CHECK(close(descriptor) == 0);
    free(archive);
}

static void targets_that_are_none(const char *folder) {
    const struct told absent = {NLXTP_ERROR_NOT_FOUND, "not-found", "node_open", "absent", 1, false};
    const struct told none = {NLXTP_ERROR_NOT_A_TARGET, "not-a-target", "node_open", "noise", 1, false};
    const struct told exists = {NLXTP_ERROR_EXISTS, "exists", "disk_create", "noise", 1, false};
    char *path = within(folder, "absent"), *noise = within(folder, "noise");
    nlxtp_node *node = UNTOUCHED;
    check_error(&absent, nlxtp_node_open(path, NULL, &node, &error));
    check_error(&none, nlxtp_node_open(noise, NULL, &node, &error));
    check_error(&exists, nlxtp_disk_create(noise, NULL, &error));
    CHECK(node == UNTOUCHED);
    nlxtp_disk_options options = {0};
    options.size = sizeof(options);
    options.label = "TWELVE CHARS";
    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_disk_create(path, &options, &error));
    options.label = NULL;
    options.bytes = 1;
    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_disk_create(path, &options, &error));
    CHECK(access(path, F_OK) != 0);
    free(path);
    free(noise);
}

int main(int count, char **arguments) {
    CHECK(count == 4);
    const char *target = arguments[2], *folder = arguments[3];
    is_disk = strcmp(arguments[1], "disk") == 0;
    struct testbed testbed = {0};
    testbed.power = NLXTP_POWER_OFF;
    nlxtp_node_options options = testbed_options(&testbed);
    nlxtp_node *node = NULL;
    OK(nlxtp_node_open(target, &options, &node, &error));
    char *first = within(folder, "first.tar.gz");
    OK(nlxtp_node_upload(node, first, NULL, NULL, &error));
    struct memory content = content_of(node);
    archives_that_are_not_taken(node, target, folder, &content);
    power_states_that_fail(node, &testbed, folder, &content);
    writers_that_fail(node);
    reports_that_cancel(node, &testbed, folder, &content);
    free(content.bytes);
    content = content_of(node);
    readers_that_fail(node, folder, &content);
    if (is_disk) {
        an_upload_in_place_that_is_cut_off(target, folder);
    } else {
        a_monitor_that_cannot_be_invoked(node, &testbed, folder);
    }
    targets_that_are_none(folder);
    free(content.bytes);
    free(first);
    nlxtp_node_free(node);
    return 0;
}
