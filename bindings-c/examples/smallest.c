/* smallest.c: the whole cycle in the least code. Usage: smallest TARGET ARCHIVE RESULTS */
#include <nlxtp.h>

#include <stdio.h>

int main(int count, char **arguments) {
    nlxtp_error *error = NULL;
    nlxtp_node *node = NULL;
    nlxtp_status *status = NULL;
    nlxtp_download_options options = {0};
    options.size = sizeof(options);
    options.replace = 1;

    if (count != 4) {
        fprintf(stderr, "usage: smallest TARGET ARCHIVE RESULTS\n");
        return 2;
    }
    if (nlxtp_node_open(arguments[1], NULL, &node, &error) == NLXTP_OK &&
        nlxtp_node_upload(node, arguments[2], NULL, NULL, &error) == NLXTP_OK &&
        nlxtp_node_wait(node, NULL, NULL, NULL, &status, &error) == NLXTP_OK &&
        nlxtp_node_download(node, arguments[3], &options, NULL, NULL, &error) == NLXTP_OK) {
        printf("%s, exit code %d\n", nlxtp_status_state_word(status), nlxtp_status_exit_code(status));
    }
    if (error != NULL) {
        fprintf(stderr, "%s: %s\n", nlxtp_error_operation(error), nlxtp_error_text(error));
    }
    int failed = error != NULL || nlxtp_status_exit_code(status) != 0;
    nlxtp_error_free(error);
    nlxtp_status_free(status);
    nlxtp_node_free(node);
    return failed;
}
