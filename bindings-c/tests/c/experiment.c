/* experiment.c: the paper's first experiment (section 4.3.1), driven by a testbed in C. The other
 * side, which owns the guest, is asked through standard output and answers with a line on standard
 * input:
 *
 *   "power"    is the guest on? The answer is "on" or "off".
 *   "invoke"   start the monitor in the guest. The answer is 0, or a negative errno value.
 *   "uploaded" the archive is there; any answer lets it go on. Only now may a guest that was off
 *              be started.
 *
 * Then it says what it has seen: "state WORD" for each state, "running MILLISECONDS", "custom" and the
 * Custom Status, "json" and the last status.
 *
 * Arguments: the target, the archive, the path of the archive to download, and "invoke" where the
 * monitor can be started from outside.
 */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

#include <stdint.h>
#include <time.h>

static nlxtp_error *error;

static void ask(const char *question, char *answer, int length) {
    CHECK(printf("%s\n", question) > 0 && fflush(stdout) == 0);
    CHECK(fgets(answer, length, stdin) != NULL);
    answer[strcspn(answer, "\n")] = '\0';
}

static int power_state(void *data) {
    char answer[32];
    (void)data;
    ask("power", answer, sizeof(answer));
    CHECK(strcmp(answer, "on") == 0 || strcmp(answer, "off") == 0);
    return strcmp(answer, "on") == 0 ? NLXTP_POWER_ON : NLXTP_POWER_OFF;
}

static int invoke_monitor(void *data) {
    char answer[32];
    (void)data;
    ask("invoke", answer, sizeof(answer));
    return atoi(answer);
}

/* What was seen of the run, in order. */
struct seen {
    nlxtp_state last;
    int statuses;
    int64_t running_since;
};

static int64_t milliseconds(void) {
    struct timespec now;
    CHECK(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void see(struct seen *seen, const nlxtp_status *status) {
    nlxtp_state state = nlxtp_status_state(status);
    /* A status that is just being written says nothing new. */
    CHECK(state != NLXTP_STATE_UNREADABLE || nlxtp_status_reason(status) != NULL);
    if (state == NLXTP_STATE_UNREADABLE) {
        return;
    }
    CHECK(nlxtp_status_running(status) == (state == NLXTP_STATE_RUNNING));
    CHECK(nlxtp_status_done(status) == (state == NLXTP_STATE_FINISHED));
    if (seen->statuses == 0 || state != seen->last) {
        printf("state %s\n", nlxtp_status_state_word(status));
    }
    if (state == NLXTP_STATE_RUNNING && seen->running_since == 0) {
        seen->running_since = milliseconds();
    }
    seen->last = state;
    seen->statuses += 1;
}

static void follow(const nlxtp_node *node, struct seen *seen, nlxtp_status **status) {
    const struct timespec pause = {0, 20 * 1000 * 1000};
    /* For a boot under emulation on a busy machine, and the run. */
    const int64_t late = milliseconds() + 180 * 1000;
    /* More often than nlxtp_node_wait() looks, so that a run of a second is seen running. */
    while (seen->statuses == 0 || seen->last != NLXTP_STATE_FINISHED) {
        nlxtp_status *found = NULL;
        CHECK(milliseconds() < late);
        OK(nlxtp_node_status(node, &found, &error));
        see(seen, found);
        nlxtp_status_free(found);
        nanosleep(&pause, NULL);
    }
    CHECK(seen->running_since != 0);
    printf("running %lld\n", (long long)(milliseconds() - seen->running_since));

    /* Who waits now has no need to. */
    nlxtp_control control = {0};
    control.size = sizeof(control);
    control.has_timeout = 1;
    OK(nlxtp_node_wait(node, &control, NULL, NULL, status, &error));
    size_t length = 0;
    const void *custom = nlxtp_status_custom(*status, &length);
    CHECK(custom != NULL && nlxtp_status_exit_code(*status) == 0 && nlxtp_status_signal(*status) == 0);
    printf("custom %.*s\njson %s\n", (int)length, (const char *)custom, nlxtp_status_json(*status));
}

static void read_output(const nlxtp_node *node, const nlxtp_status *status) {
    char bytes[256];
    size_t length = 0;
    OK(nlxtp_node_read_output(node, status, NLXTP_OUTPUT_STDOUT, 0, bytes, sizeof(bytes), &length, &error));
    CHECK(length == nlxtp_status_stdout_bytes(status));
    printf("stdout %.*s", (int)length, bytes);
    OK(nlxtp_node_read_output(node, status, NLXTP_OUTPUT_STDERR, 0, bytes, sizeof(bytes), &length, &error));
    CHECK(length == 0 && nlxtp_status_stderr_bytes(status) == 0);
}

int main(int count, char **arguments) {
    CHECK(count == 4 || (count == 5 && strcmp(arguments[4], "invoke") == 0));
    nlxtp_node_options options = {0};
    options.size = sizeof(options);
    options.power_state = power_state;
    options.invoke_monitor = count == 5 ? invoke_monitor : NULL;
    nlxtp_node *node = NULL;
    nlxtp_upload *upload = NULL;
    nlxtp_status *status = NULL;
    nlxtp_download *download = NULL;
    OK(nlxtp_node_open(arguments[1], &options, &node, &error));
    OK(nlxtp_node_upload(node, arguments[2], NULL, &upload, &error));
    char answer[32], executed[32];
    snprintf(executed, sizeof(executed), "uploaded %d", (int)nlxtp_upload_execution(upload));
    ask(executed, answer, sizeof(answer));

    struct seen seen = {NLXTP_STATE_UNREADABLE, 0, 0};
    follow(node, &seen, &status);
    /* What was told is about the run that was uploaded. */
    CHECK(strcmp(nlxtp_status_run_id(status), nlxtp_upload_run_id(upload)) == 0);
    read_output(node, status);
    /* Done means that all is on the disk: the guest need not be asked or stopped. */
    OK(nlxtp_node_download(node, arguments[3], NULL, NULL, &download, &error));
    CHECK(nlxtp_download_changed(download) == 0 && nlxtp_download_left_out(download) == 0);
    CHECK(nlxtp_download_files(download) >= 8 && nlxtp_download_directories(download) == 1);

    nlxtp_download_free(download);
    nlxtp_status_free(status);
    nlxtp_upload_free(upload);
    nlxtp_node_free(node);
    return 0;
}
