// A pager through hypeman.hpp. WORK holds standby/, a VM with guest memory.
#include "check.h"
#include <hypeman.hpp>

namespace fs = std::filesystem;

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    const fs::path work = argv[1];
    const hypeman::Hypeman hm(work / "data");
    hypeman::RegisterOptions registration{"standby", "firecracker"};
    registration.directory = work / "standby";
    hm.instances().register_instance(registration);
    const std::string id = hm.instances().snapshots().create("standby", {hypeman::Kind::Standby}).id();

    fs::path socket;
    {
        hypeman::ServeOptions options;
        options.socket = work / "p";
        options.cpus = {0};
        options.fill = true;
        options.prefetch = false;
        options.spin_us = 0;
        const hypeman::Pager pager = hm.snapshots().serve_memory(id, options);
        socket = pager.socket();
        CHECK(pager.snapshot_id() == id && socket == work / "p" && fs::is_socket(socket));
        const hypeman::PagerMetrics metrics = pager.metrics();
        CHECK(metrics.faults == 0 && metrics.fault_us.size() == 20 && !metrics.last_error);
        hypeman::Call call;
        call.timeout = std::chrono::milliseconds(1);
        try {
            pager.wait(call);
            CHECK(!"it waits");
        } catch (const hypeman::Error &error) {
            CHECK(error.code() == "timeout");
        }
    }
    CHECK(!fs::exists(socket));

    // A Hypeman that goes out of scope takes no VM's memory away.
    const hypeman::Pager pager = hypeman::Hypeman(work / "data").snapshots().serve_memory(id);
    CHECK(fs::is_socket(pager.socket()));
    pager.stop();
    CHECK(!fs::exists(pager.socket()) && pager.metrics().vms == 0);
    hm.snapshots().remove(id);
    return 0;
}
