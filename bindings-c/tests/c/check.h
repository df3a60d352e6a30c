/* check.h: the little that the C tests need of a test framework. */
#ifndef CHECK_H
#define CHECK_H

#include <nlxtp.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A download that is not compressed; and one that may replace another. */
static const nlxtp_download_options AS_TAR = {sizeof(AS_TAR), NLXTP_FORMAT_TAR, 0, 0, 0, 0};
static const nlxtp_download_options REPLACING = {sizeof(REPLACING), 0, 0, 0, 0, 1};

/* Ends the program, saying where, unless the condition holds. */
#define CHECK(condition)                                                                   \
    do {                                                                                   \
        if (!(condition)) {                                                                \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);        \
            exit(1);                                                                       \
        }                                                                                  \
    } while (0)

/* Ends the program, saying where and what the library says, unless a call succeeds. */
#define OK(call) check_ok((call), &error, #call, __FILE__, __LINE__)

/* Ends the program unless a call fails with this result; frees the error. */
#define FAILS(result, call) check_fails((result), (call), &error, #call, __FILE__, __LINE__)

static inline void check_ok(nlxtp_result result, nlxtp_error **error, const char *call,
                            const char *file, int line) {
    if (result != NLXTP_OK || *error != NULL) {
        const char *text = nlxtp_error_text(*error);
        fprintf(stderr, "%s:%d: %s: %d: %s\n", file, line, call, (int)result, text ? text : "-");
        exit(1);
    }
}

static inline void check_fails(nlxtp_result expected, nlxtp_result result, nlxtp_error **error,
                               const char *call, const char *file, int line) {
    const char *text = nlxtp_error_text(*error);
    if (result != expected || *error == NULL || nlxtp_error_code(*error) != expected ||
        nlxtp_error_kind(*error) == NULL || nlxtp_error_operation(*error) == NULL ||
        nlxtp_error_message(*error) == NULL || strlen(nlxtp_error_message(*error)) == 0) {
        fprintf(stderr, "%s:%d: %s: %d instead of %d: %s\n", file, line, call, (int)result,
                (int)expected, text ? text : "-");
        exit(1);
    }
    nlxtp_error_free(*error);
    *error = NULL;
}

/* The whole of a small file, ended by NUL; the caller frees it. */
static inline char *slurp(const char *path, size_t *length) {
    FILE *file = fopen(path, "rb");
    CHECK(file != NULL);
    CHECK(fseek(file, 0, SEEK_END) == 0);
    long size = ftell(file);
    CHECK(size >= 0 && fseek(file, 0, SEEK_SET) == 0);
    char *bytes = (char *)malloc((size_t)size + 1);
    CHECK(bytes != NULL && fread(bytes, 1, (size_t)size, file) == (size_t)size);
    CHECK(fclose(file) == 0);
    bytes[size] = '\0';
    if (length != NULL) {
        *length = (size_t)size;
    }
    return bytes;
}

#endif
