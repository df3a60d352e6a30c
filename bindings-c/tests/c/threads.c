/* threads.c: many threads use the same nodes, statuses, tokens and watcher at once. What cannot be now is
 * refused, callbacks come in the thread of their call, and nothing hangs.
 *
 * Arguments: an empty directory, an archive, how many rounds. */
#define _POSIX_C_SOURCE 200809L
#include "testbed.h"

#include <pthread.h>
#include <sys/stat.h>

#define THREADS 6
#define SHARED 3
#define WATCHED 4

static const char *archive;
static int rounds;

/* What all threads use. */
static nlxtp_node *shared[SHARED];
static nlxtp_node *watched[WATCHED];
static nlxtp_watcher *watcher;
static nlxtp_status *common;
static const nlxtp_error *failure;
static nlxtp_cancel *everybody;
/* Workers that have done their rounds. */
static pthread_mutex_t ready_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t ready_condition = PTHREAD_COND_INITIALIZER;
static int ready;

struct worker {
    pthread_t thread;
    nlxtp_node *own;
    int number;
    int done;
    int refused;
    int reports;
};

static int in_its_thread(void *data, const nlxtp_progress *progress) {
    struct worker *worker = data;
    (void)progress;
    CHECK(pthread_equal(worker->thread, pthread_self()));
    worker->reports += 1;
    return 0;
}

/* Counts what may be: a call that was done, or refused since another thread has the node. */
static void count(struct worker *worker, nlxtp_result result, nlxtp_error *error) {
    CHECK((result == NLXTP_OK) == (error == NULL));
    CHECK(result == NLXTP_OK || result == NLXTP_ERROR_IN_USE || result == NLXTP_ERROR_CANCELLED);
    worker->done += result == NLXTP_OK;
    worker->refused += result == NLXTP_ERROR_IN_USE;
    nlxtp_error_free(error);
}

static void use(struct worker *worker, nlxtp_node *node, int what) {
    nlxtp_control control = {0};
    nlxtp_error *error = NULL;
    nlxtp_result result = NLXTP_OK;
    control.size = sizeof(control);
    control.progress = in_its_thread;
    control.user_data = worker;
    control.cancel = everybody;
    if (what % 4 == 0) {
        result = nlxtp_node_upload(node, archive, &control, NULL, &error);
    } else if (what % 4 == 1) {
        struct memory content = {0};
        nlxtp_writer writer = memory_writer(&content);
        result = nlxtp_node_download_writer(node, &writer, &AS_TAR, &control, NULL, &error);
        CHECK(result != NLXTP_OK || content.length > 0);
        free(content.bytes);
    } else if (what % 4 == 2) {
        nlxtp_status *status = NULL;
        result = nlxtp_node_status(node, &status, &error);
        nlxtp_status_free(status);
    } else {
        char *memory = NULL;
        result = nlxtp_node_memory(node, &memory, &error);
        nlxtp_string_free(memory);
    }
    count(worker, result, error);
}

static void *work(void *data) {
    struct worker *worker = data;
    worker->thread = pthread_self();
    for (int round = 0; round < rounds; round++) {
        int refused = worker->refused;
        use(worker, worker->own, round);
        CHECK(worker->refused == refused);
        use(worker, shared[(worker->number + round) % SHARED], round + worker->number);
        /* Whoever comes from aside may get in between, or is refused. */
        use(worker, watched[(worker->number + round) % WATCHED], 2);
        nlxtp_watcher_wake(watcher);
        CHECK(nlxtp_watcher_count(watcher) <= WATCHED);
        /* What never changes is read by all. */
        CHECK(nlxtp_status_state(common) == NLXTP_STATE_NOT_STARTED && strlen(nlxtp_status_json(common)) > 2);
        CHECK(strcmp(nlxtp_error_operation(failure), "node_open") == 0);
        /* A token of this thread's, which another one could use. */
        nlxtp_cancel *cancel = NULL;
        nlxtp_control control = {0};
        nlxtp_status *status = NULL;
        CHECK(nlxtp_cancel_new(&cancel, NULL) == NLXTP_OK);
        control.size = sizeof(control);
        control.cancel = cancel;
        nlxtp_cancel_now(cancel);
        CHECK(nlxtp_node_wait(worker->own, &control, NULL, NULL, &status, NULL) == NLXTP_ERROR_CANCELLED);
        nlxtp_cancel_free(cancel);
    }
    CHECK(pthread_mutex_lock(&ready_mutex) == 0);
    ready += 1;
    CHECK(pthread_cond_signal(&ready_condition) == 0 && pthread_mutex_unlock(&ready_mutex) == 0);
    /* All end by the one who cancels, whatever they do then. */
    nlxtp_control control = {0};
    nlxtp_status *status = NULL;
    control.size = sizeof(control);
    control.cancel = everybody;
    CHECK(nlxtp_node_wait(worker->own, &control, NULL, NULL, &status, NULL) == NLXTP_ERROR_CANCELLED);
    CHECK(status == NULL);
    return NULL;
}

static int note_change(void *data, const nlxtp_change *change) {
    const pthread_t *thread = data;
    CHECK(pthread_equal(*thread, pthread_self()) && nlxtp_change_status(change) != NULL);
    return 0;
}

/* Watches until everybody is told to end; each wake-up lets it return. */
static void *watch(void *data) {
    int *turns = data;
    pthread_t thread = pthread_self();
    nlxtp_control control = {0};
    nlxtp_result result;
    control.size = sizeof(control);
    control.cancel = everybody;
    do {
        result = nlxtp_watcher_run(watcher, &control, note_change, &thread, NULL);
        *turns += 1;
    } while (result == NLXTP_OK || result == NLXTP_ERROR_IN_USE);
    CHECK(result == NLXTP_ERROR_CANCELLED);
    return NULL;
}

static nlxtp_node *new_node(const char *place, const char *kind, int number) {
    nlxtp_error *error = NULL;
    char path[400];
    nlxtp_node *node = NULL;
    CHECK(snprintf(path, sizeof(path), "%s/%s%d", place, kind, number) > 0 && mkdir(path, 0755) == 0);
    OK(nlxtp_node_open(path, NULL, &node, &error));
    return node;
}

int main(int count, char **arguments) {
    nlxtp_error *error = NULL, *kept = NULL;
    CHECK(count == 4);
    archive = arguments[2];
    rounds = atoi(arguments[3]);
    OK(nlxtp_cancel_new(&everybody, &error));
    OK(nlxtp_watcher_new(NULL, &watcher, &error));
    for (int i = 0; i < SHARED; i++) {
        shared[i] = new_node(arguments[1], "shared", i);
    }
    for (int i = 0; i < WATCHED; i++) {
        watched[i] = new_node(arguments[1], "watched", i);
        OK(nlxtp_watcher_add(watcher, watched[i], NULL, NULL, &error));
    }
    OK(nlxtp_node_status(shared[0], &common, &error));
    nlxtp_node *none = NULL;
    CHECK(nlxtp_node_open("", NULL, &none, &kept) == NLXTP_ERROR_INVALID_INPUT);
    failure = kept;

    struct worker workers[THREADS];
    pthread_t threads[THREADS];
    memset(workers, 0, sizeof(workers));
    pthread_t watching;
    int turns = 0;
    CHECK(pthread_create(&watching, NULL, watch, &turns) == 0);
    for (int i = 0; i < THREADS; i++) {
        workers[i].number = i;
        workers[i].own = new_node(arguments[1], "own", i);
        CHECK(pthread_create(&threads[i], NULL, work, &workers[i]) == 0);
    }
    /* Half of them are in the middle of something then. */
    CHECK(pthread_mutex_lock(&ready_mutex) == 0);
    while (ready < THREADS / 2) {
        CHECK(pthread_cond_wait(&ready_condition, &ready_mutex) == 0);
    }
    CHECK(pthread_mutex_unlock(&ready_mutex) == 0);
    nlxtp_cancel_now(everybody);
    for (int i = 0; i < THREADS; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
        CHECK(workers[i].done > 0);
    }
    CHECK(pthread_join(watching, NULL) == 0 && turns > 0);
    /* Nothing is held any more: all can be used, and freed. */
    for (int i = 0; i < THREADS; i++) {
        nlxtp_status *status = NULL;
        OK(nlxtp_node_status(workers[i].own, &status, &error));
        nlxtp_status_free(status);
        nlxtp_node_free(workers[i].own);
    }
    CHECK(nlxtp_watcher_count(watcher) == WATCHED);
    nlxtp_watcher_free(watcher);
    for (int i = 0; i < WATCHED; i++) {
        nlxtp_status *status = NULL;
        OK(nlxtp_node_status(watched[i], &status, &error));
        nlxtp_status_free(status);
        nlxtp_node_free(watched[i]);
    }
    for (int i = 0; i < SHARED; i++) {
        OK(nlxtp_node_upload(shared[i], archive, NULL, NULL, &error));
        nlxtp_node_free(shared[i]);
    }
    nlxtp_status_free(common);
    nlxtp_error_free(kept);
    nlxtp_cancel_free(everybody);
    return 0;
}
