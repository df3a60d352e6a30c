/* testbed.h: what the C tests with guests share: callbacks that fail when they are told to, archives in
 * memory, and what a shared directory holds. */
#ifndef TESTBED_H
#define TESTBED_H

#include "check.h"

#include <errno.h>
#include <stdint.h>

/* Whether a call that fails leaves its output argument alone. */
#define UNTOUCHED ((void *)(uintptr_t)0x5a5a)

/* Bytes that grow as they are written. */
struct memory {
    char *bytes;
    size_t length;
    size_t capacity;
    size_t position;
    /* Most bytes of one call; 0 for any number. */
    size_t at_once;
    int calls;
    /* The call, from 1, that returns `failure`; 0 for none. */
    int fail_at;
    int64_t failure;
};

static inline int64_t memory_write(void *data, const void *bytes, size_t length) {
    struct memory *memory = data;
    if (++memory->calls == memory->fail_at) {
        return memory->failure;
    }
    if (memory->at_once != 0 && length > memory->at_once) {
        length = memory->at_once;
    }
    if (memory->length + length > memory->capacity) {
        memory->capacity = 2 * (memory->length + length);
        memory->bytes = realloc(memory->bytes, memory->capacity);
        CHECK(memory->bytes != NULL);
    }
    memcpy(memory->bytes + memory->length, bytes, length);
    memory->length += length;
    return (int64_t)length;
}

static inline int64_t memory_read(void *data, void *buffer, size_t length) {
    struct memory *memory = data;
    if (++memory->calls == memory->fail_at) {
        return memory->failure;
    }
    size_t left = memory->position < memory->length ? memory->length - memory->position : 0;
    length = length < left ? length : left;
    if (memory->at_once != 0 && length > memory->at_once) {
        length = memory->at_once;
    }
    if (length > 0) {
        memcpy(buffer, memory->bytes + memory->position, length);
    }
    memory->position += length;
    return (int64_t)length;
}

static inline int64_t memory_seek(void *data, int64_t offset, int whence) {
    struct memory *memory = data;
    int64_t from = whence == SEEK_SET ? 0 : (int64_t)(whence == SEEK_CUR ? memory->position : memory->length);
    if (from + offset < 0) {
        return -EINVAL;
    }
    memory->position = (size_t)(from + offset);
    return from + offset;
}

static inline nlxtp_reader memory_reader(struct memory *memory) {
    nlxtp_reader reader = {0};
    reader.size = sizeof(reader);
    reader.read = memory_read;
    reader.seek = memory_seek;
    reader.user_data = memory;
    return reader;
}

static inline nlxtp_writer memory_writer(struct memory *memory) {
    nlxtp_writer writer = {0};
    writer.size = sizeof(writer);
    writer.write = memory_write;
    writer.user_data = memory;
    return writer;
}

static inline struct memory memory_of_file(const char *path) {
    struct memory memory = {0};
    memory.bytes = slurp(path, &memory.length);
    return memory;
}

static inline int holds(const struct memory *memory, const char *text) {
    size_t length = strlen(text);
    for (size_t i = 0; i + length <= memory->length; i++) {
        if (memcmp(memory->bytes + i, text, length) == 0) {
            return 1;
        }
    }
    return 0;
}

/* All that the shared directory holds, as a tar in memory; the caller frees its bytes. */
static inline struct memory content_of(const nlxtp_node *node) {
    nlxtp_error *error = NULL;
    struct memory content = {0};
    nlxtp_writer writer = memory_writer(&content);
    OK(nlxtp_node_download_writer(node, &writer, &AS_TAR, NULL, NULL, &error));
    return content;
}

/* What a failure must leave: the node of use, and its content as it was. */
static inline void check_content(const nlxtp_node *node, const struct memory *before) {
    struct memory now = content_of(node);
    CHECK(now.length == before->length && memcmp(now.bytes, before->bytes, now.length) == 0);
    free(now.bytes);
}

/* The testbed's side of a node: what its callbacks are to answer, and how often they were asked. */
struct testbed {
    int power;
    int power_calls;
    /* The call, from 1, that answers `power_failure`; 0 for none. */
    int power_fail_at;
    int power_failure;
    int invoke;
    int invoke_calls;
    int reports;
    /* The report, from 1, that cancels; 0 for none. */
    int cancel_at;
    nlxtp_cancel *cancel;
};

static inline int testbed_power(void *data) {
    struct testbed *testbed = data;
    return ++testbed->power_calls == testbed->power_fail_at ? testbed->power_failure : testbed->power;
}

static inline int testbed_invoke(void *data) {
    struct testbed *testbed = data;
    testbed->invoke_calls += 1;
    return testbed->invoke;
}

static inline int testbed_progress(void *data, const nlxtp_progress *progress) {
    struct testbed *testbed = data;
    CHECK(progress->size >= sizeof(*progress));
    CHECK(progress->total == UINT64_MAX || progress->done <= progress->total);
    if (++testbed->reports != testbed->cancel_at) {
        return 0;
    }
    /* In one way or the other: by a token, or by what is returned. */
    nlxtp_cancel_now(testbed->cancel);
    return testbed->cancel == NULL ? -7 : 0;
}

static inline nlxtp_node_options testbed_options(struct testbed *testbed) {
    nlxtp_node_options options = {0};
    options.size = sizeof(options);
    options.power_state = testbed_power;
    options.invoke_monitor = testbed_invoke;
    options.user_data = testbed;
    return options;
}

static inline nlxtp_control testbed_control(struct testbed *testbed) {
    nlxtp_control control = {0};
    control.size = sizeof(control);
    control.progress = testbed_progress;
    control.user_data = testbed;
    return control;
}

/* A path in a folder; the caller frees it. */
static inline char *within(const char *folder, const char *name) {
    size_t length = strlen(folder) + strlen(name) + 2;
    char *path = malloc(length);
    CHECK(path != NULL && snprintf(path, length, "%s/%s", folder, name) > 0);
    return path;
}

#endif
