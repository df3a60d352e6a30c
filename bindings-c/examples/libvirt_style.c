/* libvirt_style.c: a testbed that knows its domains by name. Whether a guest is on comes from a
 * function, as it would with virDomainGetState(); the disk is only written while it is off.
 * Usage: libvirt_style STATE-FILE DISK ARCHIVE   (the file holds "running" or "shut off")
 */
#include <nlxtp.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct domain {
    const char *name;
    const char *state_file;
};

/* Called by the library whenever it must know. A negative errno value says that nobody can tell; an
 * upload is refused then, rather than risked. */
static int domain_power(void *data) {
    const struct domain *domain = data;
    char state[32] = "";
    FILE *file = fopen(domain->state_file, "r");
    if (file == NULL) {
        return -errno;
    }
    int known = fgets(state, sizeof(state), file) != NULL;
    fclose(file);
    if (!known) {
        return -EIO;
    }
    state[strcspn(state, "\n")] = '\0';
    return strcmp(state, "shut off") == 0 ? NLXTP_POWER_OFF : NLXTP_POWER_ON;
}

static int show_progress(void *data, const nlxtp_progress *progress) {
    const struct domain *domain = data;
    if (progress->phase == NLXTP_PHASE_EXTRACTING && progress->total > 0) {
        fprintf(stderr, "%s: %d%%\n", domain->name, (int)(100 * progress->done / progress->total));
    }
    return 0; /* go on */
}

int main(int count, char **arguments) {
    if (count != 4) {
        fprintf(stderr, "usage: libvirt_style STATE-FILE DISK ARCHIVE\n");
        return 2;
    }
    struct domain domain = {"node1", arguments[1]};
    nlxtp_node_options options = {0};
    options.size = sizeof(options);
    options.power_state = domain_power;
    options.user_data = &domain;
    nlxtp_control control = {0};
    control.size = sizeof(control);
    control.has_timeout = 1;
    control.timeout_ms = 60 * 1000;
    control.progress = show_progress;
    control.user_data = &domain;

    nlxtp_error *error = NULL;
    nlxtp_node *node = NULL;
    nlxtp_upload *upload = NULL;
    if (nlxtp_node_open(arguments[2], &options, &node, &error) == NLXTP_OK &&
        nlxtp_node_upload(node, arguments[3], &control, &upload, &error) == NLXTP_OK) {
        printf("%s: run %s\n", domain.name, nlxtp_upload_run_id(upload));
    }
    nlxtp_result result = nlxtp_error_code(error);
    if (result == NLXTP_ERROR_GUEST_ON) {
        printf("%s: shut the domain down first\n", domain.name);
    } else if (error != NULL) {
        fprintf(stderr, "%s: %s\n", domain.name, nlxtp_error_text(error));
    }
    nlxtp_error_free(error);
    nlxtp_upload_free(upload);
    nlxtp_node_free(node);
    return result == NLXTP_OK ? 0 : 1;
}
