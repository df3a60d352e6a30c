/* watcher.c: many nodes watched at once, from one thread and from several. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>

static nlxtp_error *error;

#define MANY 40

/* A container's directory with the files of ToMaTo's guest modules, which a test can write by hand. */
struct guest {
    char path[300];
    nlxtp_node *node;
    uint64_t id;
    int changes;
};

static struct guest guests[MANY];

static void make_guest(struct guest *guest, const char *place, int number) {
    CHECK(snprintf(guest->path, sizeof(guest->path), "%s/guest%d", place, number) > 0);
    CHECK(mkdir(guest->path, 0755) == 0);
    OK(nlxtp_node_open(guest->path, NULL, &guest->node, &error));
}

static void put(const struct guest *guest, const char *name, const char *text) {
    char path[400];
    CHECK(snprintf(path, sizeof(path), "%s/exec_status", guest->path) > 0);
    mkdir(path, 0755);
    CHECK(snprintf(path, sizeof(path), "%s/exec_status/%s", guest->path, name) > 0);
    FILE *file = fopen(path, "w");
    CHECK(file != NULL && fputs(text, file) >= 0 && fclose(file) == 0);
}

static nlxtp_watcher *new_watcher(void) {
    nlxtp_watcher *watcher = NULL;
    nlxtp_watcher_options options = {0};
    options.size = sizeof(options);
    options.shortest_ms = 10;
    options.longest_ms = 100;
    OK(nlxtp_watcher_new(&options, &watcher, &error));
    CHECK(nlxtp_watcher_count(watcher) == 0);
    return watcher;
}

/* Long enough for any machine; a test that waits in vain fails. */
static nlxtp_control patience(void) {
    nlxtp_control control = {0};
    control.size = sizeof(control);
    control.has_timeout = 1;
    control.timeout_ms = 300 * 1000;
    return control;
}

static nlxtp_change *next(nlxtp_watcher *watcher) {
    const nlxtp_control control = patience();
    nlxtp_change *change = NULL;
    OK(nlxtp_watcher_next(watcher, &control, &change, &error));
    return change;
}

static int count_finished(void *data, const nlxtp_change *change) {
    nlxtp_watcher *watcher = data;
    struct guest *guest = nlxtp_change_user_data(change);
    const nlxtp_status *status = nlxtp_change_status(change);
    CHECK(guest->id == nlxtp_change_node(change) && status != NULL);
    CHECK(nlxtp_change_error(change) == NULL);
    guest->changes += 1;
    if (nlxtp_status_done(status)) {
        /* Watcher and node can be used here, and the change stays. */
        nlxtp_status *again = NULL;
        OK(nlxtp_node_status(guest->node, &again, &error));
        CHECK(nlxtp_status_done(again));
        nlxtp_status_free(again);
        OK(nlxtp_watcher_remove(watcher, guest->id, &error));
        FAILS(NLXTP_ERROR_NOT_FOUND, nlxtp_watcher_remove(watcher, guest->id, &error));
        CHECK(nlxtp_status_done(status));
    } else {
        put(guest, "custom", "half");
        put(guest, "done", "");
    }
    return 0;
}

static void all_runs_to_their_end(void) {
    nlxtp_watcher *watcher = new_watcher();
    const nlxtp_control control = patience();
    nlxtp_change *change = (void *)guests;
    /* Nobody is watched: no error, and no change. */
    OK(nlxtp_watcher_next(watcher, NULL, &change, &error));
    CHECK(change == NULL);
    for (int i = 0; i < MANY; i++) {
        OK(nlxtp_watcher_add(watcher, guests[i].node, &guests[i], &guests[i].id, &error));
        CHECK(guests[i].id > 0 && (i == 0 || guests[i].id != guests[i - 1].id));
    }
    CHECK(nlxtp_watcher_count(watcher) == MANY);
    OK(nlxtp_watcher_run(watcher, &control, count_finished, watcher, &error));
    CHECK(nlxtp_watcher_count(watcher) == 0);
    for (int i = 0; i < MANY; i++) {
        CHECK(guests[i].changes >= 2);
        nlxtp_status *status = NULL;
        OK(nlxtp_node_status(guests[i].node, &status, &error));
        CHECK(nlxtp_status_done(status));
        nlxtp_status_free(status);
    }
    nlxtp_watcher_free(watcher);
}

static int stop(void *data, const nlxtp_change *change) {
    *(uint64_t *)data = nlxtp_change_node(change);
    return 1;
}

static void a_node_has_one_watcher_and_comes_back(void) {
    nlxtp_watcher *watcher = new_watcher(), *other = new_watcher();
    uint64_t id = 0, untouched = 7, stopped = 0;
    OK(nlxtp_watcher_add(watcher, guests[0].node, NULL, &id, &error));
    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_watcher_add(watcher, guests[0].node, NULL, &untouched, &error));
    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_watcher_add(other, guests[0].node, NULL, &untouched, &error));
    CHECK(untouched == 7 && nlxtp_watcher_count(watcher) == 1 && nlxtp_watcher_count(other) == 0);
    OK(nlxtp_watcher_run(watcher, NULL, stop, &stopped, &error));
    CHECK(stopped == id);
    /* With the watcher, its nodes are watched no longer. */
    nlxtp_watcher_free(watcher);
    OK(nlxtp_watcher_add(other, guests[0].node, NULL, NULL, &error));
    nlxtp_status *status = NULL;
    OK(nlxtp_node_status(guests[0].node, &status, &error));
    nlxtp_status_free(status);
    nlxtp_watcher_free(other);
}

static void a_freed_node_is_watched_on(const char *place) {
    struct guest guest = {{0}, NULL, 0, 0};
    make_guest(&guest, place, MANY);
    nlxtp_watcher *watcher = new_watcher();
    OK(nlxtp_watcher_add(watcher, guest.node, &guest, &guest.id, &error));
    nlxtp_node_free(guest.node);
    nlxtp_change *change = next(watcher);
    CHECK(nlxtp_change_user_data(change) == &guest && nlxtp_change_node(change) == guest.id);
    CHECK(nlxtp_status_state(nlxtp_change_status(change)) == NLXTP_STATE_NOT_STARTED);
    nlxtp_change_free(change);
    /* What fails about a node is its change, told once, and it may come back. */
    char moved[400];
    CHECK(snprintf(moved, sizeof(moved), "%s-moved", guest.path) > 0);
    CHECK(rename(guest.path, moved) == 0);
    change = next(watcher);
    CHECK(nlxtp_change_status(change) == NULL);
    CHECK(nlxtp_error_code(nlxtp_change_error(change)) == NLXTP_ERROR_NOT_FOUND);
    nlxtp_change_free(change);
    CHECK(rename(moved, guest.path) == 0);
    change = next(watcher);
    CHECK(nlxtp_change_status(change) != NULL);
    nlxtp_change_free(change);
    OK(nlxtp_watcher_remove(watcher, guest.id, &error));
    nlxtp_watcher_free(watcher);
}

static void no_time_is_time_to_look(void) {
    nlxtp_watcher *watcher = new_watcher();
    nlxtp_control control = patience();
    nlxtp_change *change = NULL;
    control.timeout_ms = 0;
    OK(nlxtp_watcher_add(watcher, guests[1].node, NULL, NULL, &error));
    OK(nlxtp_watcher_next(watcher, &control, &change, &error));
    CHECK(change != NULL);
    nlxtp_change_free(change);
    change = (void *)guests;
    FAILS(NLXTP_ERROR_TIMED_OUT, nlxtp_watcher_next(watcher, &control, &change, &error));
    FAILS(NLXTP_ERROR_TIMED_OUT, nlxtp_watcher_run(watcher, &control, stop, NULL, &error));
    nlxtp_cancel *cancel = NULL;
    OK(nlxtp_cancel_new(&cancel, &error));
    nlxtp_cancel_now(cancel);
    control.cancel = cancel;
    FAILS(NLXTP_ERROR_CANCELLED, nlxtp_watcher_next(watcher, &control, &change, &error));
    CHECK(change == (void *)guests);
    nlxtp_cancel_free(cancel);
    nlxtp_watcher_free(watcher);
}

static void a_wake_up_is_kept_for_the_next_call(void) {
    nlxtp_watcher *watcher = new_watcher();
    OK(nlxtp_watcher_add(watcher, guests[2].node, NULL, NULL, &error));
    nlxtp_change_free(next(watcher));
    nlxtp_watcher_wake(watcher);
    CHECK(next(watcher) == NULL);
    nlxtp_control control = patience();
    control.timeout_ms = 30;
    nlxtp_change *change = NULL;
    /* Once is once. */
    FAILS(NLXTP_ERROR_TIMED_OUT, nlxtp_watcher_next(watcher, &control, &change, &error));
    nlxtp_watcher_free(watcher);
}

/* What the thread that watches is told by another one. */
struct orders {
    pthread_mutex_t mutex;
    nlxtp_watcher *watcher;
    struct guest *add;
    int end;
    int added;
};

static void *order(void *data) {
    struct orders *orders = data;
    for (int i = 3; i < MANY; i++) {
        for (int taken = 0; !taken;) {
            CHECK(pthread_mutex_lock(&orders->mutex) == 0);
            if (orders->add == NULL) {
                orders->add = &guests[i];
                taken = 1;
            }
            CHECK(pthread_mutex_unlock(&orders->mutex) == 0);
            nlxtp_watcher_wake(orders->watcher);
        }
        /* Whoever comes from aside is told that it is in use, or gets in between; nothing hangs. */
        nlxtp_status *status = NULL;
        nlxtp_result result = nlxtp_node_status(guests[i].node, &status, NULL);
        CHECK(result == NLXTP_OK || result == NLXTP_ERROR_IN_USE);
        nlxtp_status_free(status);
        CHECK(nlxtp_watcher_count(orders->watcher) <= MANY);
    }
    CHECK(pthread_mutex_lock(&orders->mutex) == 0);
    orders->end = 1;
    CHECK(pthread_mutex_unlock(&orders->mutex) == 0);
    nlxtp_watcher_wake(orders->watcher);
    return NULL;
}

/* A call that may come while the other thread has the watcher or the node for a moment. */
static void insist(struct orders *orders, struct guest *guest) {
    nlxtp_result result;
    do {
        result = nlxtp_watcher_add(orders->watcher, guest->node, guest, &guest->id, NULL);
    } while (result == NLXTP_ERROR_IN_USE);
    CHECK(result == NLXTP_OK);
}

static void another_thread_gives_orders(void) {
    struct orders orders = {PTHREAD_MUTEX_INITIALIZER, new_watcher(), NULL, 0, 0};
    pthread_t thread;
    insist(&orders, &guests[2]);
    CHECK(pthread_create(&thread, NULL, order, &orders) == 0);
    for (int end = 0; !end;) {
        const nlxtp_control control = patience();
        nlxtp_change *change = NULL;
        nlxtp_result result = nlxtp_watcher_next(orders.watcher, &control, &change, NULL);
        CHECK(result == NLXTP_OK || result == NLXTP_ERROR_IN_USE);
        nlxtp_change_free(change);
        CHECK(pthread_mutex_lock(&orders.mutex) == 0);
        struct guest *guest = orders.add;
        orders.add = NULL;
        end = orders.end && guest == NULL;
        CHECK(pthread_mutex_unlock(&orders.mutex) == 0);
        if (guest != NULL) {
            insist(&orders, guest);
            orders.added += 1;
        }
    }
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(orders.added == MANY - 3 && nlxtp_watcher_count(orders.watcher) == MANY - 2);
    nlxtp_watcher_free(orders.watcher);
}

static void a_disk_by_its_descriptor(const char *place) {
    char path[400], renamed[420];
    CHECK(snprintf(path, sizeof(path), "%s/disk.img", place) > 0);
    CHECK(snprintf(renamed, sizeof(renamed), "%s-renamed", path) > 0);
    OK(nlxtp_disk_create(path, NULL, &error));
    int descriptor = open(path, O_RDONLY);
    CHECK(descriptor >= 0 && rename(path, renamed) == 0);
    nlxtp_node *node = NULL;
    OK(nlxtp_node_open_fd(descriptor, NULL, &node, &error));
    CHECK(close(descriptor) == 0);
    nlxtp_watcher *watcher = new_watcher();
    OK(nlxtp_watcher_add(watcher, node, NULL, NULL, &error));
    nlxtp_change *change = next(watcher);
    CHECK(nlxtp_status_state(nlxtp_change_status(change)) == NLXTP_STATE_NOT_STARTED);
    nlxtp_change_free(change);
    nlxtp_watcher_free(watcher);
    nlxtp_node_free(node);
}

/* Argument: an empty directory. */
int main(int count, char **arguments) {
    CHECK(count == 2);
    for (int i = 0; i < MANY; i++) {
        make_guest(&guests[i], arguments[1], i);
    }
    all_runs_to_their_end();
    a_node_has_one_watcher_and_comes_back();
    a_freed_node_is_watched_on(arguments[1]);
    no_time_is_time_to_look();
    a_wake_up_is_kept_for_the_next_call();
    another_thread_gives_orders();
    a_disk_by_its_descriptor(arguments[1]);
    for (int i = 0; i < MANY; i++) {
        nlxtp_node_free(guests[i].node);
    }
    return 0;
}
