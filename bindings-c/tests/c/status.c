/* status.c: prints what a status query finds, one "name=value" a line. Argument: the target. */
#include "check.h"

#include <inttypes.h>

static nlxtp_error *error;

static const char *or_dash(const char *text) {
    return text != NULL ? text : "-";
}

static void print_output(nlxtp_node *node, const nlxtp_status *status, nlxtp_output output,
                         const char *name) {
    char bytes[3];
    uint64_t offset = 0;
    size_t length = 0;
    printf("%s=", name);
    do {
        OK(nlxtp_node_read_output(node, status, output, offset, bytes, sizeof(bytes), &length, &error));
        CHECK(length <= sizeof(bytes));
        fwrite(bytes, 1, length, stdout);
        offset += length;
    } while (length > 0);
    printf("\n");
}

int main(int count, char **arguments) {
    CHECK(count == 2);
    nlxtp_node *node = NULL;
    nlxtp_status *status = NULL;
    OK(nlxtp_node_open(arguments[1], NULL, &node, &error));
    OK(nlxtp_node_status(node, &status, &error));
    size_t length = 0;
    const unsigned char *custom = nlxtp_status_custom(status, &length);
    printf("state=%s\n", nlxtp_status_state_word(status));
    printf("done=%d\nrunning=%d\n", nlxtp_status_done(status), nlxtp_status_running(status));
    printf("sequence=%" PRIu64 "\n", nlxtp_status_sequence(status));
    printf("run=%s\n", or_dash(nlxtp_status_run_id(status)));
    printf("exit=%d\nsignal=%d\n", nlxtp_status_exit_code(status), nlxtp_status_signal(status));
    printf("timed-out=%d\n", nlxtp_status_timed_out(status));
    printf("progress=%" PRIu64 "/%" PRIu64 "\n", nlxtp_status_progress_done(status),
           nlxtp_status_progress_total(status));
    printf("cut=%d%d%d\n", nlxtp_status_stdout_truncated(status),
           nlxtp_status_stderr_truncated(status), nlxtp_status_custom_truncated(status));
    printf("stdout-bytes=%" PRIu64 "\n", nlxtp_status_stdout_bytes(status));
    printf("custom=%s", custom != NULL ? "" : "-");
    for (size_t i = 0; i < length; i++) {
        printf("%02x", custom[i]);
    }
    printf("\njson=%s\n", nlxtp_status_json(status));
    print_output(node, status, NLXTP_OUTPUT_STDOUT, "stdout");

    /* What is remembered goes out and comes in. */
    char *memory = NULL;
    OK(nlxtp_node_memory(node, &memory, &error));
    printf("memory=%s\n", or_dash(memory));
    nlxtp_node_options options = {0};
    options.size = sizeof(options);
    options.memory = memory;
    nlxtp_node *other = NULL;
    OK(nlxtp_node_open(arguments[1], &options, &other, &error));
    char *again = NULL;
    OK(nlxtp_node_memory(other, &again, &error));
    CHECK((memory == NULL) == (again == NULL));
    CHECK(memory == NULL || strcmp(memory, again) == 0);
    nlxtp_string_free(memory);
    nlxtp_string_free(again);
    nlxtp_status_free(status);
    nlxtp_node_free(other);
    nlxtp_node_free(node);
    return 0;
}
