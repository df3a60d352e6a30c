/* reports.c: all that uploads and downloads tell: each report of progress, what was left out or lost, what
 * changed meanwhile, and what stands after a failure.
 *
 * Arguments: "disk" or "directory", the target, a folder with first.tar.gz and odd.tar. */
#define _POSIX_C_SOURCE 200809L
#include "testbed.h"

#include <sys/stat.h>
#include <unistd.h>

static nlxtp_error *error;

/* The reports of one operation, phase by phase in the order in which they came. */
struct phases {
    nlxtp_progress first[8];
    nlxtp_progress last[8];
    int count;
};

static int note(void *data, const nlxtp_progress *progress) {
    struct phases *phases = data;
    int now = phases->count - 1;
    if (now < 0 || phases->last[now].phase != progress->phase) {
        now = phases->count++;
        CHECK(phases->count <= 8);
        phases->first[now] = *progress;
    } else {
        CHECK(progress->done >= phases->last[now].done);
    }
    phases->last[now] = *progress;
    return 0;
}

static nlxtp_control noting(struct phases *phases) {
    nlxtp_control control = {0};
    control.size = sizeof(control);
    control.progress = note;
    control.user_data = phases;
    memset(phases, 0, sizeof(*phases));
    return control;
}

/* Each phase is told when it begins and when it is complete, in bytes of what the header says. */
static void progress_is_told(const nlxtp_node *node, const char *folder) {
    struct phases phases;
    nlxtp_control control = noting(&phases);
    char *path = within(folder, "first.tar.gz");
    struct memory archive = memory_of_file(path);
    OK(nlxtp_node_upload(node, path, &control, NULL, &error));
    CHECK(phases.count == 2 && phases.first[0].phase == NLXTP_PHASE_EXTRACTING);
    CHECK(phases.first[0].done < archive.length && phases.first[0].total == archive.length);
    CHECK(phases.last[0].done == archive.length && phases.last[0].total == archive.length);
    CHECK(phases.first[1].phase == NLXTP_PHASE_FLUSHING && phases.first[1].done == 0);
    CHECK(phases.first[1].total == UINT64_MAX);

    control = noting(&phases);
    struct memory content = {0};
    nlxtp_writer writer = memory_writer(&content);
    nlxtp_download *download = NULL;
    OK(nlxtp_node_download_writer(node, &writer, &AS_TAR, &control, &download, &error));
    CHECK(phases.count == 1 && phases.first[0].phase == NLXTP_PHASE_PACKING);
    CHECK(phases.first[0].done == 0 && phases.first[0].total == UINT64_MAX);
    CHECK(phases.last[0].done == nlxtp_download_bytes(download) && phases.last[0].done > 0);
    CHECK(phases.last[0].total == phases.last[0].done);
    nlxtp_download_free(download);
    free(content.bytes);
    free(archive.bytes);
    free(path);
}

/* odd.tar holds a start script that was written on Windows, a set-user-id program, both of a user, and
 * something in exec_status/. */
static void uploads_tell_what_is_odd(const nlxtp_node *node, const char *folder) {
    char *path = within(folder, "odd.tar");
    nlxtp_upload *upload = NULL;
    OK(nlxtp_node_upload(node, path, NULL, &upload, &error));
    CHECK(nlxtp_upload_entries(upload) == 2 && nlxtp_upload_left_out(upload) == 1);
    CHECK(strcmp(nlxtp_upload_left_out_entry(upload, 0), "exec_status/old") == 0);
    CHECK(nlxtp_upload_left_out_entry(upload, 1) == NULL);
    CHECK(nlxtp_upload_lost_modes(upload) == 1 && nlxtp_upload_lost_owners(upload) == 2);
    CHECK(nlxtp_upload_warning_count(upload) == 1 && nlxtp_upload_warning(upload, 1) == NULL);
    CHECK(strncmp(nlxtp_upload_warning(upload, 0), "auto_exec.sh: ", 14) == 0);
    nlxtp_upload_free(upload);
    free(path);
}

/* A guest that goes on writing while its files are read. */
struct busy_guest {
    struct memory archive;
    const char *file;
};

static int64_t write_meanwhile(void *data, const void *bytes, size_t length) {
    struct busy_guest *guest = data;
    FILE *file = fopen(guest->file, "ab");
    CHECK(file != NULL && fputs("more", file) >= 0 && fclose(file) == 0);
    return memory_write(&guest->archive, bytes, length);
}

static void downloads_tell_what_is_odd(const nlxtp_node *node, const char *target) {
    char *pipe = within(target, "pipe"), *link = within(target, "link"), *busy = within(target, "busy");
    CHECK(mkfifo(pipe, 0600) == 0 && symlink("auto_exec.sh", link) == 0);
    FILE *file = fopen(busy, "wb");
    CHECK(file != NULL && fseek(file, 4 << 20, SEEK_SET) == 0 && fputs("end", file) >= 0 && fclose(file) == 0);
    struct busy_guest guest = {{0}, busy};
    nlxtp_writer writer = {sizeof(writer), write_meanwhile, &guest};
    nlxtp_download *download = NULL;
    OK(nlxtp_node_download_writer(node, &writer, &AS_TAR, NULL, &download, &error));
    CHECK(nlxtp_download_symlinks(download) == 1 && nlxtp_download_left_out(download) == 1);
    CHECK(strcmp(nlxtp_download_left_out_path(download, 0), "pipe") == 0);
    CHECK(strstr(nlxtp_download_left_out_reason(download, 0), "FIFO") != NULL);
    CHECK(nlxtp_download_left_out_path(download, 1) == NULL);
    CHECK(nlxtp_download_left_out_reason(download, 1) == NULL);
    CHECK(nlxtp_download_changed(download) == 1 && !nlxtp_download_settled(download));
    CHECK(strcmp(nlxtp_download_changed_path(download, 0), "busy") == 0);
    CHECK(strlen(nlxtp_download_changed_problem(download, 0)) > 10);
    CHECK(nlxtp_download_changed_path(download, 1) == NULL);
    CHECK(nlxtp_download_changed_problem(download, 1) == NULL);
    nlxtp_download_free(download);
    free(guest.archive.bytes);
    /* What is left out for good does not hinder. */
    struct memory content = {0};
    writer = memory_writer(&content);
    OK(nlxtp_node_download_writer(node, &writer, &AS_TAR, NULL, &download, &error));
    CHECK(nlxtp_download_left_out(download) == 1 && nlxtp_download_settled(download));
    nlxtp_download_free(download);
    free(content.bytes);
    free(busy);
    free(link);
    free(pipe);
}

static void guest_writes(const char *target, const char *name, const char *content) {
    char *path = within(target, name);
    FILE *file = fopen(path, "wb");
    CHECK(file != NULL && fputs(content, file) >= 0 && fclose(file) == 0);
    free(path);
}

static nlxtp_download *take_home(const nlxtp_node *node) {
    struct memory content = {0};
    nlxtp_writer writer = memory_writer(&content);
    nlxtp_download *download = NULL;
    OK(nlxtp_node_download_writer(node, &writer, &AS_TAR, NULL, &download, &error));
    free(content.bytes);
    return download;
}

/* What a guest that is done has written down is compared with what is there. */
static void downloads_are_verified(const nlxtp_node *node, const char *target) {
    static const char empty[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    char digests[2 * sizeof(empty) + 40], *status = within(target, "exec_status");
    CHECK(mkdir(status, 0755) == 0);
    guest_writes(target, "exec_status/done", "");
    nlxtp_download *download = take_home(node);
    CHECK(nlxtp_download_verification(download) == NLXTP_VERIFICATION_NO_DIGESTS);
    nlxtp_download_free(download);

    snprintf(digests, sizeof(digests), "%s  auto_exec.sh\n%s  gone\n", empty, empty);
    guest_writes(target, "exec_status/digests", digests);
    guest_writes(target, "exec_status/stdout", "hello\n");
    download = take_home(node);
    CHECK(nlxtp_download_verification(download) == NLXTP_VERIFICATION_DIFFERS);
    CHECK(nlxtp_download_verification_reason(download) == NULL);
    uint64_t count = nlxtp_download_differences(download);
    /* Of the files, two are not compared; and one is missing. */
    CHECK(count >= 3 && count == nlxtp_download_files(download) - 2 + 1);
    CHECK(strcmp(nlxtp_download_difference_path(download, 0), "auto_exec.sh") == 0);
    CHECK(strstr(nlxtp_download_difference_problem(download, 0), "content") != NULL);
    CHECK(strcmp(nlxtp_download_difference_path(download, 1), "gone") == 0);
    CHECK(strstr(nlxtp_download_difference_problem(download, 1), "missing") != NULL);
    CHECK(strstr(nlxtp_download_difference_problem(download, 2), "new") != NULL);
    CHECK(nlxtp_download_difference_path(download, count) == NULL);
    CHECK(nlxtp_download_difference_problem(download, count) == NULL);
    nlxtp_download_free(download);

    guest_writes(target, "exec_status/digests", "?");
    download = take_home(node);
    CHECK(nlxtp_download_verification(download) == NLXTP_VERIFICATION_UNUSABLE);
    CHECK(strstr(nlxtp_download_verification_reason(download), "line 1") != NULL);
    CHECK(nlxtp_download_differences(download) == 0);
    nlxtp_download_free(download);
    free(status);
}

/* The run of an upload that stands is known, for as long as the error. */
static void the_upload_stands(const nlxtp_node *node, struct testbed *testbed, const char *folder) {
    char *path = within(folder, "first.tar.gz");
    nlxtp_upload *upload = UNTOUCHED;
    nlxtp_status *status = NULL;
    testbed->power = NLXTP_POWER_ON;
    testbed->invoke = -ESRCH;
    CHECK(nlxtp_node_upload(node, path, NULL, &upload, &error) == NLXTP_ERROR_INVOKE_FAILED);
    const nlxtp_upload *stands = nlxtp_error_upload(error);
    CHECK(upload == UNTOUCHED && stands != NULL);
    CHECK(nlxtp_upload_execution(stands) == NLXTP_EXECUTION_BY_DAEMON);
    CHECK(nlxtp_upload_entries(stands) == 2 && strlen(nlxtp_upload_json(stands)) > 10);
    CHECK(nlxtp_node_status(node, &status, NULL) == NLXTP_OK);
    CHECK(strcmp(nlxtp_status_run_id(status), nlxtp_upload_run_id(stands)) == 0);
    nlxtp_status_free(status);
    nlxtp_error_free(error);
    error = NULL;
    /* Other failures have none. */
    testbed->invoke = 0;
    CHECK(nlxtp_node_upload(node, "absent", NULL, &upload, &error) == NLXTP_ERROR_NOT_FOUND);
    CHECK(nlxtp_error_upload(error) == NULL);
    nlxtp_error_free(error);
    error = NULL;
    free(path);
}

int main(int count, char **arguments) {
    CHECK(count == 4);
    const char *target = arguments[2], *folder = arguments[3];
    struct testbed testbed = {0};
    nlxtp_node_options options = testbed_options(&testbed);
    nlxtp_node *node = NULL;
    OK(nlxtp_node_open(target, &options, &node, &error));
    progress_is_told(node, folder);
    uploads_tell_what_is_odd(node, folder);
    if (strcmp(arguments[1], "directory") == 0) {
        downloads_tell_what_is_odd(node, target);
        downloads_are_verified(node, target);
        the_upload_stands(node, &testbed, folder);
    }
    nlxtp_node_free(node);
    return 0;
}
