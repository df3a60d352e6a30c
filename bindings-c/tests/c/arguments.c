/* arguments.c: NULL, handles of other kinds, structures of other sizes, values out of range. Each is
 * refused with a message, and nothing is written anywhere. */
#include "check.h"

#include <stdint.h>

static nlxtp_error *error;

/* Whether a call that fails leaves its output argument alone. */
#define UNTOUCHED ((void *)(uintptr_t)0x5a5a)

static void nothing_needs_an_error_object(void) {
    CHECK(nlxtp_node_open(NULL, NULL, NULL, NULL) == NLXTP_ERROR_INVALID_INPUT);
    CHECK(nlxtp_node_upload(NULL, "x", NULL, NULL, NULL) == NLXTP_ERROR_INVALID_INPUT);
}

static void null_is_refused_where_there_must_be_something(nlxtp_node *node, const char *archive) {
    nlxtp_node *other = UNTOUCHED;
    nlxtp_status *status = UNTOUCHED;
    nlxtp_upload *upload = UNTOUCHED;
    nlxtp_download *download = UNTOUCHED;
    char *memory = UNTOUCHED;
    char bytes[4] = "abc";
    size_t length = 7;

    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_cancel_new(NULL, &error));
    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_disk_create(NULL, NULL, &error));
    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_disk_create("", NULL, &error));
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
    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_node_download(node, NULL, 0, 0, NULL, &download, &error));
    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_node_download(NULL, "x", 0, 0, NULL, &download, &error));
    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_node_download(node, "x", 77, 0, NULL, &download, &error));
    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_node_download_fd(node, -5, 0, NULL, &download, &error));
    FAILS(NLXTP_ERROR_INVALID_INPUT,
          nlxtp_node_download_writer(node, NULL, 0, NULL, &download, &error));

    CHECK(other == UNTOUCHED && status == UNTOUCHED && upload == UNTOUCHED);
    CHECK(download == UNTOUCHED && memory == UNTOUCHED && length == 7);
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
    CHECK(nlxtp_error_refusal_reason(handle, 0) == NULL);
    CHECK(nlxtp_status_state(handle) == NLXTP_STATE_UNREADABLE);
    CHECK(nlxtp_status_state_word(handle) == NULL && nlxtp_status_reason(handle) == NULL);
    CHECK(!nlxtp_status_done(handle) && !nlxtp_status_running(handle));
    CHECK(nlxtp_status_custom(handle, &length) == NULL && length == 7);
    CHECK(nlxtp_status_exit_code(handle) == -1 && nlxtp_status_signal(handle) == 0);
    CHECK(!nlxtp_status_timed_out(handle) && nlxtp_status_sequence(handle) == 0);
    CHECK(nlxtp_status_run_id(handle) == NULL && nlxtp_status_json(handle) == NULL);
    CHECK(nlxtp_status_stdout_bytes(handle) == UINT64_MAX);
    CHECK(nlxtp_status_stderr_bytes(handle) == UINT64_MAX);
    CHECK(!nlxtp_status_stdout_truncated(handle) && !nlxtp_status_stderr_truncated(handle));
    CHECK(!nlxtp_status_custom_truncated(handle));
    CHECK(nlxtp_status_dialect(handle) == NLXTP_DIALECT_NONE && nlxtp_status_attempts(handle) == 0);
    CHECK(nlxtp_upload_run_id(handle) == NULL && nlxtp_upload_entries(handle) == 0);
    CHECK(nlxtp_upload_bytes(handle) == 0 && nlxtp_upload_start_script(handle) == NULL);
    CHECK(nlxtp_upload_execution(handle) == NLXTP_EXECUTION_NO_START_SCRIPT);
    CHECK(nlxtp_upload_json(handle) == NULL && nlxtp_download_json(handle) == NULL);
    CHECK(nlxtp_download_files(handle) == 0 && nlxtp_download_directories(handle) == 0);
    CHECK(nlxtp_download_bytes(handle) == 0 && nlxtp_download_archive_bytes(handle) == 0);
    CHECK(nlxtp_download_changed(handle) == 0 && nlxtp_download_left_out(handle) == 0);
}

static void freeing_null_is_harmless(void) {
    nlxtp_error_free(NULL);
    nlxtp_cancel_free(NULL);
    nlxtp_cancel_now(NULL);
    nlxtp_node_free(NULL);
    nlxtp_status_free(NULL);
    nlxtp_upload_free(NULL);
    nlxtp_download_free(NULL);
    nlxtp_string_free(NULL);
}

static void handles_of_another_kind_are_refused(nlxtp_node *node, nlxtp_cancel *cancel) {
    nlxtp_status *status = UNTOUCHED;
    char noise[64];
    memset(noise, 0x6e, sizeof(noise));
    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_node_status((void *)cancel, &status, &error));
    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_node_status((void *)noise, &status, &error));
    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_node_status((void *)(noise + 1), &status, &error));
    CHECK(status == UNTOUCHED);
    /* Not freed either: both are of use afterwards. */
    nlxtp_node_free((void *)cancel);
    nlxtp_cancel_free((void *)node);
    nlxtp_status_free((void *)noise);
    OK(nlxtp_node_status(node, &status, &error));
    what_reads_a_report_answers_null(node);
    nlxtp_status_free(status);
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
    nlxtp_cancel *cancel = NULL;
    OK(nlxtp_node_open(arguments[1], NULL, &node, &error));
    OK(nlxtp_cancel_new(&cancel, &error));
    nothing_needs_an_error_object();
    null_is_refused_where_there_must_be_something(node, arguments[2]);
    what_reads_a_report_answers_null(NULL);
    freeing_null_is_harmless();
    handles_of_another_kind_are_refused(node, cancel);
    structures_of_other_sizes(arguments[1], node);
    nlxtp_cancel_free(cancel);
    nlxtp_node_free(node);
    return 0;
}
