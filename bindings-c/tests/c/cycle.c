/* cycle.c: the operations on a directory or disk, by paths, descriptors and callbacks. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

static nlxtp_error *error;

/* What the callbacks are to do, and what they saw. */
struct testbed {
    int power;
    int invoke;
    int invoked;
    int reports;
    int cancel_at;
    nlxtp_phase last_phase;
    nlxtp_node *node;
    FILE *file;
};

static int power_state(void *data) {
    return ((struct testbed *)data)->power;
}

static int invoke_monitor(void *data) {
    struct testbed *testbed = data;
    testbed->invoked += 1;
    return testbed->invoke;
}

static int progress(void *data, const nlxtp_progress *progress) {
    struct testbed *testbed = data;
    CHECK(progress->size == sizeof(*progress));
    CHECK(progress->total == UINT64_MAX || progress->done <= progress->total);
    testbed->reports += 1;
    testbed->last_phase = progress->phase;
    if (testbed->node != NULL) {
        /* The node is in use: that is said, and nothing hangs. */
        nlxtp_status *status = NULL;
        FAILS(NLXTP_ERROR_IN_USE, nlxtp_node_status(testbed->node, &status, &error));
        CHECK(status == NULL);
    }
    return testbed->reports == testbed->cancel_at;
}

static int64_t read_some(void *data, void *buffer, size_t length) {
    struct testbed *testbed = data;
    /* Short reads are allowed. */
    size_t got = fread(buffer, 1, length > 1000 ? 1000 : length, testbed->file);
    return ferror(testbed->file) ? -EIO : (int64_t)got;
}

static int64_t seek_to(void *data, int64_t offset, int whence) {
    struct testbed *testbed = data;
    const int how[] = {SEEK_SET, SEEK_CUR, SEEK_END};
    CHECK(whence >= 0 && whence <= 2);
    return fseek(testbed->file, (long)offset, how[whence]) == 0 ? (int64_t)ftell(testbed->file)
                                                                 : -errno;
}

static int64_t fail_to_read(void *data, void *buffer, size_t length) {
    (void)data, (void)buffer, (void)length;
    return -ENXIO;
}

static int64_t lie_about_reading(void *data, void *buffer, size_t length) {
    (void)data, (void)buffer;
    return (int64_t)length + 1;
}

static int64_t write_some(void *data, const void *bytes, size_t length) {
    struct testbed *testbed = data;
    return (int64_t)fwrite(bytes, 1, length > 777 ? 777 : length, testbed->file);
}

static int64_t disk_full(void *data, const void *bytes, size_t length) {
    (void)data, (void)bytes, (void)length;
    return -ENOSPC;
}

static void *cancel_soon(void *cancel) {
    const struct timespec pause = {0, 50 * 1000 * 1000};
    nanosleep(&pause, NULL);
    nlxtp_cancel_now(cancel);
    return NULL;
}

static char *beside(const char *place, const char *name) {
    size_t length = strlen(place) + strlen(name) + 2;
    char *path = malloc(length);
    CHECK(path != NULL && snprintf(path, length, "%s/%s", place, name) > 0);
    return path;
}

static int is_disk(const char *kind) {
    return strcmp(kind, "disk") == 0;
}

static void uploads(nlxtp_node *node, struct testbed *testbed, const char *place, const char *kind) {
    char *archive = beside(place, "good.tar.gz");
    char *refused = beside(place, "refused.tar");
    nlxtp_upload *upload = NULL;
    nlxtp_control control = {0};
    control.size = sizeof(control);
    control.progress = progress;
    control.user_data = testbed;
    testbed->node = node;
    OK(nlxtp_node_upload(node, archive, &control, &upload, &error));
    testbed->node = NULL;
    CHECK(testbed->reports > 0 && testbed->last_phase == NLXTP_PHASE_FLUSHING);
    CHECK(strlen(nlxtp_upload_run_id(upload)) == 32);
    CHECK(strcmp(nlxtp_upload_start_script(upload), "auto_exec.sh") == 0);
    CHECK(nlxtp_upload_entries(upload) >= 3 && nlxtp_upload_bytes(upload) > 0);
    nlxtp_execution execution = nlxtp_upload_execution(upload);
    CHECK(execution == (is_disk(kind) ? NLXTP_EXECUTION_AT_BOOT : NLXTP_EXECUTION_INVOKED));
    CHECK(testbed->invoked == !is_disk(kind));
    CHECK(strstr(nlxtp_upload_json(upload), nlxtp_upload_run_id(upload)) != NULL);
    nlxtp_upload_free(upload);

    /* All that is refused is listed. */
    upload = NULL;
    CHECK(nlxtp_node_upload(node, refused, NULL, &upload, &error) == NLXTP_ERROR_REFUSED);
    CHECK(upload == NULL && strcmp(nlxtp_error_operation(error), "node_upload") == 0);
    CHECK(nlxtp_error_refusal_count(error) >= 1 && !nlxtp_error_may_retry(error));
    CHECK(strstr(nlxtp_error_refusal_entry(error, 0), "pipe") != NULL);
    CHECK(strlen(nlxtp_error_refusal_reason(error, 0)) > 0);
    CHECK(nlxtp_error_refusal_reason(error, 1000000) == NULL);
    nlxtp_error_free(error);
    error = NULL;

    /* By descriptor, from whatever position, by pipe, and by callbacks. */
    int file = open(archive, O_RDONLY);
    CHECK(file >= 0 && lseek(file, 10, SEEK_SET) == 10);
    OK(nlxtp_node_upload_fd(node, file, NULL, NULL, &error));
    CHECK(fcntl(file, F_GETFD) >= 0 && close(file) == 0);
    int ends[2];
    CHECK(pipe(ends) == 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        size_t length;
        char *bytes = slurp(archive, &length);
        _exit(write(ends[1], bytes, length) == (ssize_t)length ? 0 : 1);
    }
    CHECK(close(ends[1]) == 0);
    OK(nlxtp_node_upload_fd(node, ends[0], NULL, NULL, &error));
    CHECK(close(ends[0]) == 0);
    int ended;
    CHECK(waitpid(child, &ended, 0) == child && ended == 0);
    nlxtp_reader reader = {0};
    reader.size = sizeof(reader);
    reader.read = read_some;
    reader.seek = seek_to;
    reader.user_data = testbed;
    testbed->file = fopen(archive, "rb");
    CHECK(testbed->file != NULL);
    OK(nlxtp_node_upload_reader(node, &reader, NULL, NULL, &error));
    reader.read = fail_to_read;
    CHECK(nlxtp_node_upload_reader(node, &reader, NULL, NULL, &error) == NLXTP_ERROR_IO);
    CHECK(strstr(nlxtp_error_message(error), strerror(ENXIO)) != NULL);
    nlxtp_error_free(error);
    error = NULL;
    reader.read = lie_about_reading;
    FAILS(NLXTP_ERROR_IO, nlxtp_node_upload_reader(node, &reader, NULL, NULL, &error));
    reader.seek = NULL;
    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_node_upload_reader(node, &reader, NULL, NULL, &error));
    CHECK(fclose(testbed->file) == 0);

    /* Whoever returns something else than 0 ends it; what was there stays. */
    testbed->reports = 0;
    testbed->cancel_at = 2;
    FAILS(NLXTP_ERROR_CANCELLED, nlxtp_node_upload(node, archive, &control, NULL, &error));
    testbed->cancel_at = 0;
    control.has_timeout = 1;
    FAILS(NLXTP_ERROR_TIMED_OUT, nlxtp_node_upload(node, archive, &control, NULL, &error));

    /* The guest is on, cannot be asked, or its monitor not be invoked. */
    testbed->power = NLXTP_POWER_ON;
    nlxtp_result result = nlxtp_node_upload(node, archive, NULL, NULL, &error);
    CHECK(result == (is_disk(kind) ? NLXTP_ERROR_GUEST_ON : NLXTP_OK));
    nlxtp_error_free(error);
    error = NULL;
    testbed->power = -EHOSTDOWN;
    CHECK(nlxtp_node_upload(node, archive, NULL, NULL, &error) == NLXTP_ERROR_IO);
    CHECK(strstr(nlxtp_error_text(error), "whether the guest is on") != NULL);
    nlxtp_error_free(error);
    error = NULL;
    testbed->power = NLXTP_POWER_UNKNOWN;
    if (!is_disk(kind)) {
        testbed->invoke = -ESRCH;
        FAILS(NLXTP_ERROR_INVOKE_FAILED, nlxtp_node_upload(node, archive, NULL, NULL, &error));
        testbed->invoke = 0;
    }
    OK(nlxtp_node_upload(node, archive, NULL, NULL, &error));
    free(archive);
    free(refused);
}

static void downloads(nlxtp_node *node, struct testbed *testbed, const char *place) {
    char *archive = beside(place, "out.tar");
    char *same = beside(place, "same.tar");
    nlxtp_download *download = NULL;
    OK(nlxtp_node_download(node, archive, NULL, NULL, &download, &error));
    CHECK(nlxtp_download_files(download) >= 3 && nlxtp_download_directories(download) == 1);
    CHECK(nlxtp_download_bytes(download) > 0 && nlxtp_download_changed(download) == 0);
    CHECK(nlxtp_download_archive_bytes(download) > nlxtp_download_bytes(download));
    CHECK(nlxtp_download_left_out(download) == 0);
    CHECK(strstr(nlxtp_download_json(download), "\"left_out\"") != NULL);
    nlxtp_download_free(download);
    FAILS(NLXTP_ERROR_EXISTS, nlxtp_node_download(node, archive, NULL, NULL, NULL, &error));
    OK(nlxtp_node_download(node, archive, &REPLACING, NULL, NULL, &error));

    nlxtp_writer writer = {0};
    writer.size = sizeof(writer);
    writer.write = write_some;
    writer.user_data = testbed;
    testbed->file = fopen(same, "wb");
    CHECK(testbed->file != NULL);
    OK(nlxtp_node_download_writer(node, &writer, &AS_TAR, NULL, NULL, &error));
    CHECK(fclose(testbed->file) == 0);
    size_t length, other_length;
    char *bytes = slurp(archive, &length);
    char *other_bytes = slurp(same, &other_length);
    CHECK(length == other_length && memcmp(bytes, other_bytes, length) == 0);
    free(other_bytes);
    int file = open(same, O_WRONLY | O_TRUNC);
    CHECK(file >= 0);
    OK(nlxtp_node_download_fd(node, file, &AS_TAR, NULL, NULL, &error));
    CHECK(close(file) == 0);
    other_bytes = slurp(same, &other_length);
    CHECK(length == other_length && memcmp(bytes, other_bytes, length) == 0);
    free(other_bytes);
    free(bytes);
    writer.write = disk_full;
    FAILS(NLXTP_ERROR_NO_SPACE,
          nlxtp_node_download_writer(node, &writer, &AS_TAR, NULL, NULL, &error));
    /* No half archive stays under its name. */
    nlxtp_control control = {0};
    control.size = sizeof(control);
    control.has_timeout = 1;
    char *late = beside(place, "late.tar");
    FAILS(NLXTP_ERROR_TIMED_OUT, nlxtp_node_download(node, late, NULL, &control, NULL, &error));
    CHECK(access(late, F_OK) != 0);
    free(late);
    free(archive);
    free(same);
}

static int give_up(void *data, const nlxtp_status *status) {
    CHECK(nlxtp_status_state(status) == NLXTP_STATE_NOT_STARTED);
    *(int *)data += 1;
    return 1;
}

static void waits(nlxtp_node *node) {
    nlxtp_status *status = NULL;
    OK(nlxtp_node_status(node, &status, &error));
    CHECK(nlxtp_status_state(status) == NLXTP_STATE_NOT_STARTED);
    CHECK(strcmp(nlxtp_status_state_word(status), "not-started") == 0);
    CHECK(!nlxtp_status_done(status) && !nlxtp_status_running(status));
    CHECK(nlxtp_status_custom(status, NULL) == NULL);
    CHECK(strlen(nlxtp_status_run_id(status)) == 32);
    nlxtp_status_free(status);
    status = NULL;
    nlxtp_control control = {0};
    control.size = sizeof(control);
    control.has_timeout = 1;
    control.timeout_ms = 20;
    FAILS(NLXTP_ERROR_TIMED_OUT, nlxtp_node_wait(node, &control, NULL, NULL, &status, &error));
    control.has_timeout = 0;
    int seen = 0;
    FAILS(NLXTP_ERROR_CANCELLED, nlxtp_node_wait(node, &control, give_up, &seen, &status, &error));
    CHECK(seen == 1 && status == NULL);
    nlxtp_cancel *cancel = NULL;
    OK(nlxtp_cancel_new(&cancel, &error));
    control.cancel = cancel;
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, cancel_soon, cancel) == 0);
    FAILS(NLXTP_ERROR_CANCELLED, nlxtp_node_wait(node, &control, NULL, NULL, &status, &error));
    CHECK(pthread_join(thread, NULL) == 0 && status == NULL);
    nlxtp_cancel_free(cancel);
}

/* What was made is told, and by a descriptor the same. */
static void describes(const char *target) {
    nlxtp_disk *disk = NULL, *again = NULL;
    OK(nlxtp_disk_open(target, NULL, &disk, &error));
    CHECK(nlxtp_disk_bytes(disk) == 8 << 20 && !nlxtp_disk_unfinished(disk));
    CHECK(nlxtp_disk_partition_offset(disk) == 1 << 20);
    CHECK(nlxtp_disk_partition_bytes(disk) == 7 << 20);
    CHECK(strcmp(nlxtp_disk_label(disk), "ACROSS") == 0);
    CHECK(nlxtp_disk_fat_bits(disk) == 12 || nlxtp_disk_fat_bits(disk) == 16);
    CHECK(nlxtp_disk_capacity_bytes(disk) % nlxtp_disk_cluster_bytes(disk) == 0);
    CHECK(nlxtp_disk_free_bytes(disk) == nlxtp_disk_capacity_bytes(disk));
    CHECK(nlxtp_disk_free_bytes(disk) > 6 << 20 && nlxtp_disk_free_bytes(disk) < 7 << 20);
    int descriptor = open(target, O_RDONLY);
    CHECK(descriptor >= 0);
    OK(nlxtp_disk_open_fd(descriptor, NULL, &again, &error));
    CHECK(close(descriptor) == 0);
    CHECK(strcmp(nlxtp_disk_json(disk), nlxtp_disk_json(again)) == 0);
    CHECK(nlxtp_disk_serial(disk) == nlxtp_disk_serial(again));
    nlxtp_disk_free(again);
    nlxtp_disk_free(disk);
    nlxtp_cancel *cancel = NULL;
    nlxtp_disk *none = NULL;
    OK(nlxtp_cancel_new(&cancel, &error));
    nlxtp_cancel_now(cancel);
    nlxtp_control control = {.size = sizeof(control), .cancel = cancel};
    FAILS(NLXTP_ERROR_CANCELLED, nlxtp_disk_open(target, &control, &none, &error));
    CHECK(none == NULL);
    nlxtp_cancel_free(cancel);
}

/* Arguments: "disk" or "directory", the target, a place with good.tar.gz and refused.tar. */
int main(int count, char **arguments) {
    CHECK(count == 4);
    const char *kind = arguments[1], *target = arguments[2], *place = arguments[3];
    if (is_disk(kind)) {
        nlxtp_disk_options disk = {0};
        disk.size = sizeof(disk);
        disk.bytes = 8 << 20;
        disk.label = "ACROSS";
        OK(nlxtp_disk_create(target, &disk, &error));
        FAILS(NLXTP_ERROR_EXISTS, nlxtp_disk_create(target, &disk, &error));
        describes(target);
    }
    struct testbed testbed = {0};
    nlxtp_node_options options = {0};
    options.size = sizeof(options);
    options.power_state = power_state;
    options.invoke_monitor = invoke_monitor;
    options.user_data = &testbed;
    nlxtp_node *node = NULL;
    OK(nlxtp_node_open(target, &options, &node, &error));
    uploads(node, &testbed, place, kind);
    waits(node);
    downloads(node, &testbed, place);
    nlxtp_node_free(node);
    /* Limits. */
    options.max_bytes = 10;
    OK(nlxtp_node_open(target, &options, &node, &error));
    char *archive = beside(place, "good.tar.gz");
    FAILS(NLXTP_ERROR_REFUSED, nlxtp_node_upload(node, archive, NULL, NULL, &error));
    free(archive);
    nlxtp_node_free(node);
    FAILS(NLXTP_ERROR_NOT_FOUND, nlxtp_node_open("no/such/target", NULL, &node, &error));
    return 0;
}
