/* fits.c: what disks are like, and whether so many bytes would fit into each. A disk that is not there is made.
 * Usage: fits BYTES DISK...
 */
#include <nlxtp.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static nlxtp_result look(const char *path, uint64_t bytes, nlxtp_disk **disk, nlxtp_error **error) {
    nlxtp_control control = {0};
    control.size = sizeof(control);
    control.has_timeout = 1;
    control.timeout_ms = 60 * 1000; /* The allocation table of a large disk takes a moment. */
    nlxtp_result result = nlxtp_disk_open(path, &control, disk, error);
    if (result != NLXTP_ERROR_NOT_FOUND) {
        return result;
    }
    nlxtp_error_free(*error);
    *error = NULL;
    nlxtp_disk_options options = {0};
    options.size = sizeof(options);
    options.bytes = (4 << 20) + 2 * bytes; /* Files take whole clusters, and the file system its part. */
    result = nlxtp_disk_create(path, &options, error);
    return result == NLXTP_OK ? nlxtp_disk_open(path, &control, disk, error) : result;
}

int main(int count, char **arguments) {
    if (count < 3) {
        fprintf(stderr, "usage: fits BYTES DISK...\n");
        return 2;
    }
    uint64_t bytes = strtoull(arguments[1], NULL, 10);
    int failed = 0;
    for (int i = 2; i < count; i++) {
        nlxtp_disk *disk = NULL;
        nlxtp_error *error = NULL;
        if (look(arguments[i], bytes, &disk, &error) != NLXTP_OK) {
            fprintf(stderr, "%s\n", nlxtp_error_text(error));
            failed = 1;
        } else if (nlxtp_disk_unfinished(disk)) {
            printf("%s: an upload was cut off, or is under way\n", arguments[i]);
            failed = 1;
        } else {
            /* An upload replaces everything, so all of the file system counts, and not what is free. */
            int fits = nlxtp_disk_capacity_bytes(disk) >= bytes;
            const char *label = nlxtp_disk_label(disk);
            printf("%s: FAT%" PRIu32 " \"%s\", %" PRIu64 " of %" PRIu64 " bytes free: %s\n", arguments[i],
                   nlxtp_disk_fat_bits(disk), label != NULL ? label : "", nlxtp_disk_free_bytes(disk),
                   nlxtp_disk_capacity_bytes(disk), fits ? "fits" : "too small");
            failed |= !fits;
        }
        nlxtp_disk_free(disk);
        nlxtp_error_free(error);
    }
    return failed;
}
