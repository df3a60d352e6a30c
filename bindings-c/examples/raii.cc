// raii.cc: the whole cycle in C++. Usage: raii TARGET ARCHIVE RESULTS
#include <nlxtp.hpp>

#include <chrono>
#include <iostream>

int main(int count, char **arguments) {
    if (count != 4) {
        std::cerr << "usage: raii TARGET ARCHIVE RESULTS\n";
        return 2;
    }
    try {
        nlxtp::node node(arguments[1]);
        nlxtp::control patient;
        patient.timeout = std::chrono::minutes(1);
        std::cout << "run " << node.upload(arguments[2], patient).run_id() << '\n';
        const nlxtp::status status = node.wait(patient);
        std::cout << status.word() << '\n' << node.output(status);
        nlxtp::download_options packing;
        packing.replace = true;
        node.download(arguments[3], packing, patient);
        return status.exit_code().value_or(1);
    } catch (const nlxtp::error &error) {
        std::cerr << error.operation() << ": " << error.what() << '\n';
        return 1;
    }
}
