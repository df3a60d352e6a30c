// watch.cc: the runs of many nodes in C++, ended from another thread. Usage: watch SECONDS TARGET...
#include <nlxtp.hpp>

#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <iostream>
#include <map>
#include <mutex>
#include <thread>

int main(int count, char **arguments) {
    if (count < 3) {
        std::cerr << "usage: watch SECONDS TARGET...\n";
        return 2;
    }
    try {
        nlxtp::watcher watcher;
        // By number; the nodes outlive the watcher, or are freed before: both are right.
        std::map<std::uint64_t, nlxtp::node> nodes;
        for (int i = 2; i < count; i++) {
            nlxtp::node node(arguments[i]);
            const std::uint64_t id = watcher.add(node);
            nodes.emplace(id, std::move(node));
        }

        // Somebody else may want it to end: here a clock, in a testbed the user.
        std::mutex mutex;
        std::condition_variable condition;
        bool over = false;
        std::thread clock([&] {
            std::unique_lock<std::mutex> lock(mutex);
            if (!condition.wait_for(lock, std::chrono::seconds(std::atoi(arguments[1])), [&] { return over; })) {
                watcher.wake();
            }
        });
        watcher.run([&](const nlxtp::change &change) {
            if (const auto status = change.status()) {
                std::cout << change.node() << ": " << status->word() << '\n';
                if (status->done()) {
                    watcher.remove(change.node());
                    std::cout << nodes.at(change.node()).output(*status);
                }
            } else {
                std::cerr << change.node() << ": " << change.error()->what() << '\n';
            }
            return true;
        });
        {
            const std::lock_guard<std::mutex> lock(mutex);
            over = true;
        }
        condition.notify_all();
        clock.join();
        std::cout << watcher.size() << " left\n";
        return watcher.size() == 0 ? 0 : 1;
    } catch (const nlxtp::error &error) {
        std::cerr << error.operation() << ": " << error.what() << '\n';
        return 1;
    }
}
