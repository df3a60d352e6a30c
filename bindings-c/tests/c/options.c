/* options.c: how a download is packed, and what a journal keeps.
 *
 * Arguments: a directory, a folder with first.tar.gz. What the journal in that folder then holds is for others
 * to judge. */
#define _POSIX_C_SOURCE 200809L
#include "testbed.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static nlxtp_error *error;

static struct memory packed(const nlxtp_node *node, nlxtp_format format, int level, unsigned threads) {
    const nlxtp_download_options options = {
        .size = sizeof(options), .format = format, .level = level, .threads = threads};
    struct memory archive = {0};
    nlxtp_writer writer = memory_writer(&archive);
    OK(nlxtp_node_download_writer(node, &writer, &options, NULL, NULL, &error));
    return archive;
}

static void levels_and_threads(const nlxtp_node *node) {
    const struct {
        nlxtp_format format;
        int usual;
        int highest;
    } formats[] = {{NLXTP_FORMAT_TAR_GZ, 6, 9}, {NLXTP_FORMAT_TAR_ZST, 3, 22}};
    for (size_t i = 0; i < sizeof(formats) / sizeof(*formats); i++) {
        nlxtp_format format = formats[i].format;
        struct memory fast = packed(node, format, 1, 0), small = packed(node, format, formats[i].highest, 0);
        struct memory usual = packed(node, format, 0, 0), alone = packed(node, format, formats[i].usual, 1);
        CHECK(fast.length > small.length);
        CHECK(usual.length == alone.length && memcmp(usual.bytes, alone.bytes, usual.length) == 0);
        free(fast.bytes);
        free(small.bytes);
        free(usual.bytes);
        free(alone.bytes);
    }
    const int wrong[][2] = {{NLXTP_FORMAT_TAR_GZ, 10},  {NLXTP_FORMAT_TAR_GZ, -1}, {NLXTP_FORMAT_TAR_ZST, 23},
                            {NLXTP_FORMAT_BY_NAME, 10}, {NLXTP_FORMAT_TAR, 1},     {-1, 0}};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        const nlxtp_download_options options = {
            .size = sizeof(options), .format = wrong[i][0], .level = wrong[i][1]};
        FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_node_download(node, "absent/x", &options, NULL, NULL, &error));
    }
}

/* A guest that writes to the first file when that is open, in the first attempts. */
struct busy_guest {
    const char *file;
    int attempts;
    int busy_attempts;
};

static int write_meanwhile(void *data, const nlxtp_progress *progress) {
    struct busy_guest *guest = data;
    if (progress->done == 0 && guest->attempts++ < guest->busy_attempts) {
        FILE *file = fopen(guest->file, "ab");
        CHECK(file != NULL && fputs("more", file) >= 0 && fclose(file) == 0);
    }
    return 0;
}

/* Returns how often it was packed. */
static uint32_t pack_from_a_busy_guest(const nlxtp_node *node, const char *target, const char *archive,
                                       uint32_t attempts, int busy_attempts, bool settled) {
    char *file = within(target, "a-file");
    struct busy_guest guest = {file, 0, busy_attempts};
    nlxtp_control control = {0};
    control.size = sizeof(control);
    control.progress = write_meanwhile;
    control.user_data = &guest;
    nlxtp_download_options options = REPLACING;
    options.attempts = attempts;
    nlxtp_download *download = NULL;
    OK(nlxtp_node_download(node, archive, &options, &control, &download, &error));
    CHECK(nlxtp_download_settled(download) == settled);
    CHECK((nlxtp_download_changed(download) > 0) == !settled);
    uint32_t made = nlxtp_download_attempts(download);
    nlxtp_download_free(download);
    free(file);
    return made;
}

static void attempts(const nlxtp_node *node, const char *target, const char *folder) {
    char *archive = within(folder, "settled.tar"), *pipe = within(folder, "pipe"), *busy = within(target, "a-file");
    FILE *file = fopen(busy, "wb");
    CHECK(file != NULL && fseek(file, 1 << 20, SEEK_SET) == 0 && fputs("end", file) >= 0 && fclose(file) == 0);
    CHECK(pack_from_a_busy_guest(node, target, archive, 0, 1, false) == 1);
    CHECK(pack_from_a_busy_guest(node, target, archive, 4, 2, true) == 3);
    CHECK(pack_from_a_busy_guest(node, target, archive, 2, 9, false) == 2);
    CHECK(pack_from_a_busy_guest(node, target, archive, 5, 0, true) == 1);
    /* What went into a pipe cannot be taken back. */
    nlxtp_download_options options = REPLACING;
    options.attempts = 2;
    CHECK(mkfifo(pipe, 0600) == 0);
    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_node_download(node, pipe, &options, NULL, NULL, &error));
    CHECK(unlink(busy) == 0);
    free(busy);
    free(pipe);
    free(archive);
}

static nlxtp_error *journal_failure(const nlxtp_node *node) {
    nlxtp_error *failure = UNTOUCHED;
    OK(nlxtp_node_journal_failure(node, &failure, &error));
    CHECK(failure != UNTOUCHED);
    return failure;
}

/* An upload, a start, an end, and two downloads, the first of which was packed several times. */
static void what_is_done_is_recorded(nlxtp_node *node, const char *target, const char *folder) {
    char *archive = within(folder, "first.tar.gz"), *results = within(folder, "recorded.tar");
    char *status = within(target, "exec_status"), *running = within(status, "running");
    char *done = within(status, "done"), *busy = within(target, "a-file");
    nlxtp_status *found = NULL;
    OK(nlxtp_node_upload(node, archive, NULL, NULL, &error));
    CHECK(mkdir(status, 0700) == 0);
    for (int end = 0; end < 2; end++) {
        FILE *file = fopen(end ? done : running, "wb");
        CHECK(file != NULL && fputs(end ? "" : "1400000000\n", file) >= 0 && fclose(file) == 0);
        CHECK(!end || unlink(running) == 0);
        OK(nlxtp_node_status(node, &found, &error));
        CHECK(nlxtp_status_state(found) == (end ? NLXTP_STATE_FINISHED : NLXTP_STATE_RUNNING));
        nlxtp_status_free(found);
    }
    FILE *file = fopen(busy, "wb");
    CHECK(file != NULL && fseek(file, 1 << 20, SEEK_SET) == 0 && fputs("end", file) >= 0 && fclose(file) == 0);
    CHECK(pack_from_a_busy_guest(node, target, results, 3, 1, true) == 2);
    struct memory content = content_of(node);
    /* What fails is not recorded. */
    FAILS(NLXTP_ERROR_EXISTS, nlxtp_node_download(node, results, NULL, NULL, NULL, &error));
    CHECK(journal_failure(node) == NULL);
    free(content.bytes);
    free(busy);
    free(done);
    free(running);
    free(status);
    free(results);
    free(archive);
}

/* Where nothing can be recorded, nothing is done; what is only seen is told nevertheless. */
static void a_journal_that_cannot_be_written(const nlxtp_node *node, const char *target, const char *folder) {
    char *file = within(folder, "journal.jsonl"), *aside = within(folder, "journal-aside");
    char *archive = within(folder, "first.tar.gz"), *results = within(folder, "unrecorded.tar");
    OK(nlxtp_node_upload(node, archive, NULL, NULL, &error));
    struct memory content = content_of(node);
    CHECK(rename(file, aside) == 0 && mkdir(file, 0700) == 0);
    CHECK(nlxtp_node_upload(node, archive, NULL, NULL, &error) != NLXTP_OK);
    CHECK(strstr(nlxtp_error_path(error), "journal.jsonl") != NULL);
    nlxtp_error_free(error);
    error = NULL;
    CHECK(nlxtp_node_download(node, results, NULL, NULL, NULL, NULL) != NLXTP_OK);
    CHECK(access(results, F_OK) != 0 && journal_failure(node) == NULL);
    char *status = within(target, "exec_status"), *done = within(status, "done");
    nlxtp_status *found = NULL;
    CHECK(mkdir(status, 0700) == 0);
    int made = open(done, O_WRONLY | O_CREAT, 0600);
    CHECK(made >= 0 && close(made) == 0);
    OK(nlxtp_node_status(node, &found, &error));
    CHECK(nlxtp_status_done(found));
    nlxtp_status_free(found);
    nlxtp_error *failure = journal_failure(node);
    CHECK(failure != NULL && strstr(nlxtp_error_text(failure), "journal.jsonl") != NULL);
    CHECK(journal_failure(node) == NULL);
    nlxtp_error_free(failure);
    CHECK(rmdir(file) == 0 && rename(aside, file) == 0);
    CHECK(unlink(done) == 0 && rmdir(status) == 0);
    check_content(node, &content);
    free(content.bytes);
    free(done);
    free(status);
    free(results);
    free(archive);
    free(aside);
    free(file);
}

int main(int count, char **arguments) {
    CHECK(count == 3);
    const char *target = arguments[1], *folder = arguments[2];
    nlxtp_node *node = NULL;
    OK(nlxtp_node_open(target, NULL, &node, &error));
    char *archive = within(folder, "first.tar.gz"), *file = within(folder, "journal.jsonl");
    OK(nlxtp_node_upload(node, archive, NULL, NULL, &error));
    levels_and_threads(node);
    attempts(node, target, folder);
    CHECK(journal_failure(node) == NULL);
    nlxtp_node_free(node);

    const nlxtp_journal_options keeping = {.size = sizeof(keeping), .keep_archives = 1};
    nlxtp_journal *journal = NULL, *other = UNTOUCHED;
    nlxtp_node_options options = {0};
    options.size = sizeof(options);
    OK(nlxtp_journal_open(file, &keeping, &journal, &error));
    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_journal_open(archive, NULL, &other, &error));
    CHECK(other == UNTOUCHED);
    options.journal = journal;
    node = UNTOUCHED;
    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_node_open(target, &options, &node, &error));
    options.journal_name = "";
    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_node_open(target, &options, &node, &error));
    options.journal_name = "client";
    /* Where an upload would erase it. */
    FAILS(NLXTP_ERROR_INVALID_INPUT, nlxtp_node_open(folder, &options, &node, &error));
    CHECK(node == UNTOUCHED);
    OK(nlxtp_node_open(target, &options, &node, &error));
    /* The node keeps what it needs. */
    nlxtp_journal_free(journal);
    what_is_done_is_recorded(node, target, folder);
    a_journal_that_cannot_be_written(node, target, folder);
    nlxtp_node_free(node);
    free(file);
    free(archive);
    return 0;
}
