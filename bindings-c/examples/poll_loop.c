/* poll_loop.c: the runs of many nodes, followed in one thread until all have ended.
 * Usage: poll_loop TARGET...
 */
#include <nlxtp.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* What this testbed knows of a node. The handle is only needed to open it: a watched node lives on. */
struct guest {
    const char *target;
    uint64_t id;
};

struct testbed {
    nlxtp_watcher *watcher;
    size_t failed;
};

static int open_guest(struct testbed *testbed, struct guest *guest) {
    nlxtp_error *error = NULL;
    nlxtp_node *node = NULL;
    if (nlxtp_node_open(guest->target, NULL, &node, &error) == NLXTP_OK) {
        nlxtp_watcher_add(testbed->watcher, node, guest, &guest->id, &error);
    }
    if (error != NULL) {
        fprintf(stderr, "%s\n", nlxtp_error_text(error));
        testbed->failed += 1;
    }
    nlxtp_result result = nlxtp_error_code(error);
    nlxtp_error_free(error);
    nlxtp_node_free(node);
    return result == NLXTP_OK;
}

/* Called once for each change. A node that cannot be asked may come back: it is asked again. */
static int show(void *data, const nlxtp_change *change) {
    struct testbed *testbed = data;
    struct guest *guest = nlxtp_change_user_data(change);
    const nlxtp_status *status = nlxtp_change_status(change);
    size_t length = 0;
    const char *custom = nlxtp_status_custom(status, &length);

    if (status == NULL) {
        fprintf(stderr, "%s: %s\n", guest->target, nlxtp_error_text(nlxtp_change_error(change)));
        return 0;
    }
    printf("%s: %s %.*s\n", guest->target, nlxtp_status_state_word(status), (int)length,
           custom != NULL ? custom : "");
    switch (nlxtp_status_state(status)) {
    case NLXTP_STATE_FINISHED:
    case NLXTP_STATE_MONITOR_STOPPED:
    case NLXTP_STATE_GUEST_REBOOTED:
        /* ToMaTo's guest modules tell no exit code: -1. */
        testbed->failed += !nlxtp_status_done(status) || nlxtp_status_exit_code(status) > 0 ||
                           nlxtp_status_signal(status) != 0;
        nlxtp_watcher_remove(testbed->watcher, nlxtp_change_node(change), NULL);
        break;
    default:
        break;
    }
    fflush(stdout);
    return 0; /* go on; it ends when nobody is watched any more */
}

int main(int count, char **arguments) {
    if (count < 2) {
        fprintf(stderr, "usage: poll_loop TARGET...\n");
        return 2;
    }
    struct testbed testbed = {NULL, 0};
    struct guest *guests = calloc((size_t)count, sizeof(*guests));
    nlxtp_error *error = NULL;
    if (guests != NULL && nlxtp_watcher_new(NULL, &testbed.watcher, &error) == NLXTP_OK) {
        for (int i = 1; i < count; i++) {
            guests[i].target = arguments[i];
            if (open_guest(&testbed, &guests[i])) {
                printf("%s: watched as %" PRIu64 "\n", guests[i].target, guests[i].id);
            }
        }
        nlxtp_watcher_run(testbed.watcher, NULL, show, &testbed, &error);
    }
    int failed = guests == NULL || error != NULL || testbed.failed > 0;
    if (error != NULL) {
        fprintf(stderr, "%s\n", nlxtp_error_text(error));
    }
    nlxtp_error_free(error);
    nlxtp_watcher_free(testbed.watcher);
    free(guests);
    return failed;
}
