/* arguments.c: NULL, handles of other kinds, structures of other sizes, values out of range. Each is
 * refused with a message, and nothing is written anywhere. */
#include "check.h"

#include <stdint.h>

static nlxtp_error *error;

/* Whether a call that fails leaves its output argument alone. */
#define UNTOUCHED ((void *)(uintptr_t)0x5a5a)

static int ignore(void *data, const nlxtp_change *change) {
    (void)data, (void)change;
    return 0;
}

static void nothing_needs_an_error_object(void) {
    CHECK(nlxtp_node_open(NULL, NULL, NULL, NULL) == NLXTP_ERROR_INVALID_INPUT);
    CHECK(nlxtp_node_upload(NULL, "x", NULL, NULL, NULL) == NLXTP_ERROR_INVALID_INPUT);
}

static void null_is_refused_where_there_must_be_something(nlxtp_node *node, const char *archive) {
    nlxtp_node *other = UNTOUCHED;
    nlxtp_status *status = UNTOUCHED;
    nlxtp_upload *upload = UNTOUCHED;
    nlxtp_download *download = UNTOUCHED;
    nlxtp_watcher *watcher = UNTOUCHED, *made = NULL;
    nlxtp_change *change = UNTOUCHED;
    nlxtp_error *failure = UNTOUCHED;
    char *memory = UNTOUCHED;
    char bytes[4] = "abc";
    size_t length = 7;
    uint64_t id = 7;
    const nlxtp_download_options no_format = {.size = sizeof(no_format), .format = 77};
    const nlxtp_download_options twice = {.size = sizeof(twice), .attempts = 2};

    OK(nlxtp_watcher_new(NULL, &made, &error));
    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_watcher_new(NULL, NULL, &error));
    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_watcher_add(NULL, node, NULL, &id, &error));
    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_watcher_add(made, NULL, NULL, &id, &error));
    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_watcher_remove(NULL, 1, &error));
    FAILS(NLXTP_ERROR_NOT_FOUND, nlxtp_watcher_remove(made, 0, &error));
    FAILS(NLXTP_ERROR_NOT_FOUND, nlxtp_watcher_remove(made, UINT64_MAX, &error));
    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_watcher_next(NULL, NULL, &change, &error));
    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_watcher_next(made, NULL, NULL, &error));
    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_watcher_run(NULL, NULL, ignore, NULL, &error));
    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_watcher_run(made, NULL, NULL, NULL, &error));
    nlxtp_watcher_free(made);
    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_node_open_fd(-1, NULL, &other, &error));
    FAILS(NLXTP_ERROR_IO, nlxtp_node_open_fd(987654, NULL, &other, &error));
    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_node_open_fd(0, NULL, NULL, &error));
    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_cancel_new(NULL, &error));
    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_disk_create(NULL, NULL, &error));
    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_disk_create("", NULL, &error));
    nlxtp_journal *journal = UNTOUCHED;
    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_journal_open(NULL, NULL, &journal, &error));
    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_journal_open("", NULL, &journal, &error));
    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_journal_open("unused", NULL, NULL, &error));
    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_node_journal_failure(NULL, &failure, &error));
    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_node_journal_failure(node, NULL, &error));
    CHECK(journal == UNTOUCHED && failure == UNTOUCHED);
    nlxtp_disk *disk = UNTOUCHED;
    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_disk_open(NULL, NULL, &disk, &error));
    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_disk_open("", NULL, &disk, &error));
    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_disk_open(archive, NULL, NULL, &error));
    FAILS(NLXTP_ERROR_NOT_A_TARGET, nlxtp_disk_open(archive, NULL, &disk, &error));
    FAILS(NLXTP_ERROR_NOT_A_TARGET, nlxtp_disk_open("/", NULL, &disk, &error));
    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_disk_open_fd(-1, NULL, &disk, &error));
    FAILS(NLXTP_ERROR_IO, nlxtp_disk_open_fd(987654, NULL, &disk, &error));
    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_disk_open_fd(0, NULL, NULL, &error));
    CHECK(disk == UNTOUCHED);
    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_node_open(NULL, NULL, &other, &error));
    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_node_open("", NULL, &other, &error));
    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_node_open(".", NULL, NULL, &error));
    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_node_memory(NULL, &memory, &error));
    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_node_memory(node, NULL, &error));
    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_node_upload(NULL, archive, NULL, &upload, &error));
    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_node_upload(node, NULL, NULL, &upload, &error));
    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_node_upload_fd(NULL, 0, NULL, &upload, &error));
    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_node_upload_fd(node, -1, NULL, &upload, &error));
    FAILS(NLXTP_ERROR_IO, nlxtp_node_upload_fd(node, 987654, NULL, &upload, &error));
    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_node_upload_reader(node, NULL, NULL, &upload, &error));
    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_node_status(NULL, &status, &error));
    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_node_status(node, NULL, &error));
    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_node_wait(NULL, NULL, NULL, NULL, &status, &error));
    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_node_wait(node, NULL, NULL, NULL, NULL, &error));
    FAILS(NLXTP_ERROR_INVALID_INPUT,
          nlxtp_node_read_output(node, NULL, NLXTP_OUTPUT_STDOUT, 0, bytes, 4, &length, &error));
    FAILS(NLXTP_ERROR_INVALID_INPUT,
          nlxtp_node_read_output(node, NULL, 9, 0, bytes, 4, &length, &error));
    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_node_download(node, NULL, NULL, NULL, &download, &error));
    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_node_download(NULL, "x", NULL, NULL, &download, &error));
    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_node_download(node, "x", &no_format, NULL, &download, &error));
    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_node_download_fd(node, 1, &twice, NULL, &download, &error));
    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_node_download_fd(node, -5, NULL, NULL, &download, &error));
    FAILS(NLXTP_ERROR_INVALID_INPUT,
          nlxtp_node_download_writer(node, NULL, NULL, NULL, &download, &error));

    CHECK(other == UNTOUCHED && status == UNTOUCHED && upload == UNTOUCHED);
    CHECK(download == UNTOUCHED && memory == UNTOUCHED && length == 7);
    CHECK(watcher == UNTOUCHED && change == UNTOUCHED && id == 7);
    CHECK(strcmp(bytes, "abc") == 0);
}

static void what_reads_a_report_answers_null(const void *handle) {
    size_t length = 7;
    CHECK(nlxtp_error_code(handle) == NLXTP_OK);
    CHECK(nlxtp_error_kind(handle) == NULL && nlxtp_error_operation(handle) == NULL);
    CHECK(nlxtp_error_text(handle) == NULL && nlxtp_error_message(handle) == NULL);
    CHECK(nlxtp_error_path(handle) == NULL && nlxtp_error_hint(handle) == NULL);
    CHECK(!nlxtp_error_may_retry(handle) && nlxtp_error_refusal_count(handle) == 0);
    CHECK(nlxtp_error_refusal_entry(handle, 0) == NULL);
    CHECK(nlxtp_error_refusal_reason(handle, 0) == NULL && nlxtp_error_upload(handle) == NULL);
    CHECK(nlxtp_status_state(handle) == NLXTP_STATE_UNREADABLE);
    CHECK(nlxtp_status_state_word(handle) == NULL && nlxtp_status_reason(handle) == NULL);
    CHECK(!nlxtp_status_done(handle) && !nlxtp_status_running(handle));
    CHECK(nlxtp_status_custom(handle, &length) == NULL && length == 7);
    CHECK(nlxtp_status_exit_code(handle) == -1 && nlxtp_status_signal(handle) == 0);
    CHECK(!nlxtp_status_timed_out(handle) && nlxtp_status_sequence(handle) == 0);
    CHECK(nlxtp_status_progress_done(handle) == 0 && nlxtp_status_progress_total(handle) == 0);
    CHECK(nlxtp_status_run_id(handle) == NULL && nlxtp_status_json(handle) == NULL);
    CHECK(nlxtp_status_stdout_bytes(handle) == UINT64_MAX);
    CHECK(nlxtp_status_stderr_bytes(handle) == UINT64_MAX);
    CHECK(!nlxtp_status_stdout_truncated(handle) && !nlxtp_status_stderr_truncated(handle));
    CHECK(!nlxtp_status_custom_truncated(handle));
    CHECK(nlxtp_status_dialect(handle) == NLXTP_DIALECT_NONE && nlxtp_status_attempts(handle) == 0);
    CHECK(nlxtp_upload_run_id(handle) == NULL && nlxtp_upload_entries(handle) == 0);
    CHECK(nlxtp_upload_bytes(handle) == 0 && nlxtp_upload_start_script(handle) == NULL);
    CHECK(nlxtp_upload_execution(handle) == NLXTP_EXECUTION_NO_START_SCRIPT);
    CHECK(nlxtp_upload_left_out(handle) == 0 && nlxtp_upload_left_out_entry(handle, 0) == NULL);
    CHECK(nlxtp_upload_lost_modes(handle) == 0 && nlxtp_upload_lost_owners(handle) == 0);
    CHECK(nlxtp_upload_warning_count(handle) == 0 && nlxtp_upload_warning(handle, 0) == NULL);
    CHECK(nlxtp_upload_json(handle) == NULL && nlxtp_download_json(handle) == NULL);
    CHECK(nlxtp_download_files(handle) == 0 && nlxtp_download_directories(handle) == 0);
    CHECK(nlxtp_download_symlinks(handle) == 0 && !nlxtp_download_settled(handle));
    CHECK(nlxtp_download_attempts(handle) == 0);
    CHECK(nlxtp_download_changed_path(handle, 0) == NULL);
    CHECK(nlxtp_download_changed_problem(handle, 0) == NULL);
    CHECK(nlxtp_download_left_out_path(handle, 0) == NULL);
    CHECK(nlxtp_download_left_out_reason(handle, 0) == NULL);
    CHECK(nlxtp_download_verification(handle) == NLXTP_VERIFICATION_NO_DIGESTS);
    CHECK(nlxtp_download_verification_reason(handle) == NULL);
    CHECK(nlxtp_download_differences(handle) == 0 && nlxtp_download_difference_path(handle, 0) == NULL);
    CHECK(nlxtp_download_difference_problem(handle, 0) == NULL);
    CHECK(nlxtp_download_bytes(handle) == 0 && nlxtp_download_archive_bytes(handle) == 0);
    CHECK(nlxtp_download_changed(handle) == 0 && nlxtp_download_left_out(handle) == 0);
    CHECK(nlxtp_change_node(handle) == 0 && nlxtp_change_user_data(handle) == NULL);
    CHECK(nlxtp_change_status(handle) == NULL && nlxtp_change_error(handle) == NULL);
    CHECK(nlxtp_watcher_count(handle) == 0);
    CHECK(nlxtp_disk_bytes(handle) == 0 && nlxtp_disk_partition_offset(handle) == 0);
    CHECK(nlxtp_disk_partition_bytes(handle) == 0 && !nlxtp_disk_unfinished(handle));
    CHECK(nlxtp_disk_fat_bits(handle) == 0 && nlxtp_disk_cluster_bytes(handle) == 0);
    CHECK(nlxtp_disk_label(handle) == NULL && nlxtp_disk_serial(handle) == 0);
    CHECK(nlxtp_disk_capacity_bytes(handle) == 0 && nlxtp_disk_free_bytes(handle) == 0);
    CHECK(nlxtp_disk_json(handle) == NULL);
}

static void freeing_null_is_harmless(void) {
    nlxtp_error_free(NULL);
    nlxtp_cancel_free(NULL);
    nlxtp_cancel_now(NULL);
    nlxtp_node_free(NULL);
    nlxtp_status_free(NULL);
    nlxtp_upload_free(NULL);
    nlxtp_download_free(NULL);
    nlxtp_watcher_wake(NULL);
    nlxtp_watcher_free(NULL);
    nlxtp_change_free(NULL);
    nlxtp_disk_free(NULL);
    nlxtp_journal_free(NULL);
    nlxtp_string_free(NULL);
}

/* Each function that takes a handle, with one that is of none of the kinds that it takes. */
static void node_functions_refuse(void *wrong) {
    nlxtp_status *status = UNTOUCHED;
    nlxtp_upload *upload = UNTOUCHED;
    nlxtp_download *download = UNTOUCHED;
    nlxtp_reader reader = {sizeof(reader), NULL, NULL, NULL};
    nlxtp_writer writer = {sizeof(writer), NULL, NULL};
    nlxtp_error *failure = UNTOUCHED;
    char *memory = UNTOUCHED, bytes[4] = "abc";
    size_t length = 7;
    const nlxtp_result refused = NLXTP_ERROR_INVALID_INPUT;
    FAILS(refused, nlxtp_node_memory(wrong, &memory, &error));
    FAILS(refused, nlxtp_node_journal_failure(wrong, &failure, &error));
    FAILS(refused, nlxtp_node_upload(wrong, "x", NULL, &upload, &error));
    FAILS(refused, nlxtp_node_upload_fd(wrong, 0, NULL, &upload, &error));
    FAILS(refused, nlxtp_node_upload_reader(wrong, &reader, NULL, &upload, &error));
    FAILS(refused, nlxtp_node_status(wrong, &status, &error));
    FAILS(refused, nlxtp_node_wait(wrong, NULL, NULL, NULL, &status, &error));
    FAILS(refused, nlxtp_node_read_output(wrong, wrong, NLXTP_OUTPUT_STDOUT, 0, bytes, 4, &length, &error));
    FAILS(refused, nlxtp_node_download(wrong, "x", NULL, NULL, &download, &error));
    FAILS(refused, nlxtp_node_download_fd(wrong, 1, NULL, NULL, &download, &error));
    FAILS(refused, nlxtp_node_download_writer(wrong, &writer, NULL, NULL, &download, &error));
    CHECK(status == UNTOUCHED && upload == UNTOUCHED && download == UNTOUCHED);
    CHECK(memory == UNTOUCHED && failure == UNTOUCHED && length == 7);
}

static void watcher_functions_refuse(void *wrong) {
    nlxtp_change *change = UNTOUCHED;
    uint64_t id = 7;
    const nlxtp_result refused = NLXTP_ERROR_INVALID_INPUT;
    FAILS(refused, nlxtp_watcher_add(wrong, wrong, NULL, &id, &error));
    FAILS(refused, nlxtp_watcher_remove(wrong, 1, &error));
    FAILS(refused, nlxtp_watcher_next(wrong, NULL, &change, &error));
    FAILS(refused, nlxtp_watcher_run(wrong, NULL, ignore, NULL, &error));
    nlxtp_watcher_wake(wrong);
    CHECK(change == UNTOUCHED && id == 7);
}

/* The functions that free, but for that of a handle's own kind, which is the given one. */
static void nothing_else_frees(void *handle, int kind) {
    if (kind != 0) nlxtp_node_free(handle);
    if (kind != 1) nlxtp_cancel_free(handle);
    if (kind != 2) nlxtp_status_free(handle);
    if (kind != 3) nlxtp_upload_free(handle);
    if (kind != 4) nlxtp_download_free(handle);
    if (kind != 5) nlxtp_watcher_free(handle);
    if (kind != 6) nlxtp_change_free(handle);
    if (kind != 7) nlxtp_error_free(handle);
    if (kind != 8) nlxtp_disk_free(handle);
    if (kind != 9) nlxtp_journal_free(handle);
}

/* One handle of every kind meets every function of the others. */
static void handles_of_another_kind_are_refused(const char *archive, const char *scratch) {
    nlxtp_node *node = NULL, *watched = NULL;
    nlxtp_cancel *cancel = NULL;
    nlxtp_status *status = NULL;
    nlxtp_upload *upload = NULL;
    nlxtp_download *download = NULL;
    nlxtp_watcher *watcher = NULL;
    nlxtp_change *change = NULL;
    nlxtp_error *failure = NULL;
    nlxtp_disk *disk = NULL;
    nlxtp_journal *journal = NULL;
    char noise[64];
    char results[400], image[400], lines[400];
    CHECK(snprintf(results, sizeof(results), "%s-results.tar", archive) > 0);
    CHECK(snprintf(image, sizeof(image), "%s-disk.img", archive) > 0);
    CHECK(snprintf(lines, sizeof(lines), "%s-journal.jsonl", archive) > 0);
    OK(nlxtp_journal_open(lines, NULL, &journal, &error));
    OK(nlxtp_disk_create(image, NULL, &error));
    OK(nlxtp_disk_open(image, NULL, &disk, &error));
    memset(noise, 0x6e, sizeof(noise));
    OK(nlxtp_node_open(scratch, NULL, &node, &error));
    OK(nlxtp_node_open(scratch, NULL, &watched, &error));
    OK(nlxtp_cancel_new(&cancel, &error));
    OK(nlxtp_node_upload(node, archive, NULL, &upload, &error));
    OK(nlxtp_node_status(node, &status, &error));
    OK(nlxtp_node_download(node, results, &REPLACING, NULL, &download, &error));
    OK(nlxtp_watcher_new(NULL, &watcher, &error));
    OK(nlxtp_watcher_add(watcher, watched, noise, NULL, &error));
    OK(nlxtp_watcher_next(watcher, NULL, &change, &error));
    CHECK(change != NULL && nlxtp_node_open(NULL, NULL, NULL, &failure) != NLXTP_OK);

    void *const handles[] = {node, cancel, status, upload, download, watcher, change, failure, disk, journal};
    const int kinds = sizeof(handles) / sizeof(*handles);
    for (int kind = 0; kind < kinds; kind++) {
        /* The others' functions take nothing from it, and leave it as it is. */
        nothing_else_frees(handles[kind], kind);
        if (kind != 0) {
            node_functions_refuse(handles[kind]);
        }
        if (kind != 5) {
            watcher_functions_refuse(handles[kind]);
        }
        nlxtp_control control = {0};
        control.size = sizeof(control);
        control.cancel = handles[kind];
        nlxtp_status *other = UNTOUCHED;
        if (kind != 1) {
            FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_node_wait(node, &control, NULL, NULL, &other, &error));
        }
        nlxtp_node *recorded = UNTOUCHED;
        nlxtp_node_options options = {0};
        options.size = sizeof(options);
        options.journal = handles[kind];
        options.journal_name = "name";
        if (kind != 9) {
            FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_node_open(scratch, &options, &recorded, &error));
        }
        CHECK(recorded == UNTOUCHED);
        uint64_t id = 7;
        size_t length = 7;
        char bytes[4] = "abc";
        FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_watcher_add(handles[kind], handles[kind], NULL, &id, &error));
        if (kind != 0) {
            FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_watcher_add(watcher, handles[kind], NULL, &id, &error));
        }
        if (kind != 2) {
            FAILS(NLXTP_ERROR_INVALID_INPUT,
                  nlxtp_node_read_output(node, handles[kind], NLXTP_OUTPUT_STDOUT, 0, bytes, 4, &length, &error));
        }
        CHECK(other == UNTOUCHED && id == 7 && length == 7);
    }
    what_reads_a_report_answers_null(node);
    what_reads_a_report_answers_null(cancel);
    CHECK(nlxtp_disk_json((void *)status) == NULL && nlxtp_status_json((void *)disk) == NULL);
    CHECK(nlxtp_status_json((void *)upload) == NULL && nlxtp_upload_json((void *)download) == NULL);
    CHECK(nlxtp_download_json((void *)change) == NULL && nlxtp_change_status((void *)status) == NULL);
    CHECK(nlxtp_error_text((void *)status) == NULL && nlxtp_watcher_count((void *)node) == 0);
    /* Any other memory, aligned or not. */
    for (int shift = 0; shift < 2; shift++) {
        node_functions_refuse(noise + shift);
        watcher_functions_refuse(noise + shift);
    }
    what_reads_a_report_answers_null(noise);
    what_reads_a_report_answers_null(noise + 1);
    nothing_else_frees(noise, -1);
    /* All are of use as before, also after so many failures. */
    CHECK(strlen(nlxtp_upload_json(upload)) > 10 && strlen(nlxtp_download_json(download)) > 10);
    CHECK(strlen(nlxtp_status_json(status)) > 10 && nlxtp_change_user_data(change) == noise);
    CHECK(nlxtp_error_code(failure) == NLXTP_ERROR_INVALID_INPUT && nlxtp_watcher_count(watcher) == 1);
    CHECK(nlxtp_disk_bytes(disk) == 62 << 20);
    nlxtp_disk_free(disk);
    nlxtp_journal_free(journal);
    nlxtp_status_free(status);
    OK(nlxtp_node_status(node, &status, &error));
    OK(nlxtp_node_upload(node, archive, NULL, NULL, &error));
    nlxtp_error_free(failure);
    nlxtp_change_free(change);
    nlxtp_watcher_free(watcher);
    nlxtp_download_free(download);
    nlxtp_upload_free(upload);
    nlxtp_status_free(status);
    nlxtp_cancel_free(cancel);
    nlxtp_node_free(watched);
    nlxtp_node_free(node);
}

static void structures_of_other_sizes(const char *target, nlxtp_node *node) {
    nlxtp_node *other = UNTOUCHED;
    nlxtp_node_options options;
    memset(&options, 0, sizeof(options));
    /* A size that was never set. */
    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_node_open(target, &options, &other, &error));
    options.size = (size_t)-1;
    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_node_open(target, &options, &other, &error));
    /* An older caller knows fewer fields; what stands behind them is not looked at. */
    options.size = offsetof(nlxtp_node_options, max_entries);
    options.memory = "no JSON";
    OK(nlxtp_node_open(target, &options, &other, &error));
    nlxtp_node_free(other);
    other = UNTOUCHED;
    options.size = sizeof(options);
    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_node_open(target, &options, &other, &error));
    options.memory = NULL;
    options.power = 3;
    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_node_open(target, &options, &other, &error));
    CHECK(other == UNTOUCHED);
    nlxtp_watcher *watcher = UNTOUCHED;
    nlxtp_watcher_options watching = {0};
    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_watcher_new(&watching, &watcher, &error));
    watching.size = sizeof(watching) + 8;
    struct {
        nlxtp_watcher_options known;
        uint64_t more;
    } newer_watching = {watching, 1};
    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_watcher_new(&newer_watching.known, &watcher, &error));
    CHECK(watcher == UNTOUCHED);
    nlxtp_journal *journal = UNTOUCHED;
    nlxtp_journal_options keeping = {0};
    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_journal_open("unused", &keeping, &journal, &error));
    nlxtp_download *download = UNTOUCHED;
    nlxtp_download_options packing = {0};
    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_node_download(node, "unused", &packing, NULL, &download, &error));
    CHECK(journal == UNTOUCHED && download == UNTOUCHED);
    /* A newer caller may know more, if it leaves that alone. */
    struct {
        nlxtp_control known;
        uint64_t more;
    } newer;
    memset(&newer, 0, sizeof(newer));
    newer.known.size = sizeof(newer);
    newer.known.has_timeout = 1;
    nlxtp_status *status = UNTOUCHED;
    FAILS(NLXTP_ERROR_TIMED_OUT, nlxtp_node_wait(node, &newer.known, NULL, NULL, &status, &error));
    newer.more = 1;
    FAILS(NLXTP_ERROR_INVALID_INPUT,
          nlxtp_node_wait(node, &newer.known, NULL, NULL, &status, &error));
    CHECK(status == UNTOUCHED);
}

/* Arguments: a directory, an archive. */
int main(int count, char **arguments) {
    CHECK(count == 3);
    CHECK(strcmp(nlxtp_version(), VERSION) == 0);
    nlxtp_node *node = NULL;
    OK(nlxtp_node_open(arguments[1], NULL, &node, &error));
    nothing_needs_an_error_object();
    null_is_refused_where_there_must_be_something(node, arguments[2]);
    what_reads_a_report_answers_null(NULL);
    freeing_null_is_harmless();
    handles_of_another_kind_are_refused(arguments[2], arguments[1]);
    structures_of_other_sizes(arguments[1], node);
    nlxtp_node_free(node);
    return 0;
}
