// The life of a snapshot of a stopped VM through hypeman.hpp: exceptions, and objects that clean up by themselves.
// WORK holds vm/disk.raw of 65536 bytes; WORK/data is made here.
#include "check.h"
#include <hypeman.hpp>

#include <atomic>

namespace fs = std::filesystem;
using hypeman::Kind;

template <typename Call> hypeman::Error refused(const char *code, Call call)
{
    try {
        call();
    } catch (const hypeman::Error &error) {
        CHECK(error.code() == code);
        return error;
    }
    CHECK(!"an exception was thrown");
    std::abort();
}

static hypeman::Snapshot a_snapshot_is_made(const hypeman::Hypeman &hm, const fs::path &work)
{
    hypeman::RegisterOptions registration{"vm1", "qemu"};
    registration.directory = work / "vm";
    registration.disks = {{work / "vm/disk.raw", true}};
    registration.compression = hypeman::Compression{true, "zstd", 3};
    const hypeman::Instance vm = hm.instances().register_instance(registration);
    CHECK(vm.state() == "Stopped" && vm.directory() == work / "vm" && !vm.api_socket());
    CHECK(vm.disks().size() == 1 && vm.disks()[0].readonly && vm.compression()->level == 3);
    CHECK(hm.instances().get("vm1").id() == vm.id() && hm.instances().list().size() == 1);

    int heard = 0;
    hypeman::Call call;
    call.timeout = std::chrono::minutes(1);
    call.progress = [&](const hypeman::Progress &) { return ++heard > 0; };
    const auto made = hm.instances().snapshots().create(vm.id(), {Kind::Stopped, "baseline", {{"team", "backend"}}}, call);
    CHECK(heard > 0);
    return made;
}

static void every_field_is_there(const hypeman::Snapshot &s)
{
    CHECK(s.id().size() == 24 && s.kind() == Kind::Stopped && s.kind_name() == "Stopped");
    CHECK(s.size_bytes() >= 65536 && s.source_hypervisor() == "qemu" && s.source_instance_name() == "vm1");
    CHECK(s.name() == "baseline" && s.tags() == (hypeman::Tags{{"team", "backend"}}));
    CHECK(!s.compression() && !s.compressed_size_bytes() && !s.uncompressed_size_bytes() && !s.compression_error());
    CHECK(s.created_at().back() == 'Z' && s.created_at_time() <= std::chrono::system_clock::now());
    CHECK(s.to_json().find(s.id()) != std::string::npos);
}

static void what_was_moved_from_is_empty(hypeman::Snapshot snapshot, hypeman::Instance vm, const fs::path &data_dir)
{
    hypeman::Hypeman again(data_dir);
    const hypeman::Snapshot kept = std::move(snapshot);
    const hypeman::Instance vm_kept = std::move(vm);
    const hypeman::Hypeman again_kept = std::move(again);
    every_field_is_there(kept);
    CHECK(snapshot.id().empty() && snapshot.kind_name().empty() && snapshot.tags().empty() && !snapshot.name());
    CHECK(vm.id().empty() && vm.state().empty() && vm.disks().empty() && !vm.directory());
    CHECK(again.data_dir().empty() && again_kept.data_dir() == data_dir);
    refused("invalid_request", [&] { again.snapshots().list(); });
}

static void a_call_can_be_ended(const hypeman::Hypeman &hm)
{
    const auto create = [&](const hypeman::Call &call) {
        hm.instances().snapshots().create("vm1", {Kind::Stopped, "second"}, call);
    };
    hypeman::Call call;
    call.cancel = hypeman::Cancel();
    call.cancel->request();
    refused("cancelled", [&] { create(call); });
    hypeman::Call late;
    late.timeout = std::chrono::milliseconds(0);
    refused("timeout", [&] { create(late); });
    hypeman::Call stopped;
    stopped.progress = [](const hypeman::Progress &) { return false; };
    refused("cancelled", [&] { create(stopped); });

    // What the callback throws comes out of the call.
    hypeman::Call throwing;
    throwing.progress = [](const hypeman::Progress &) -> bool { throw std::out_of_range("mine"); };
    bool mine = false;
    try {
        create(throwing);
    } catch (const std::out_of_range &) {
        mine = true;
    }
    CHECK(mine);
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    const fs::path work = argv[1];
    hypeman::OpenOptions options;
    std::atomic<int> heard = 0;
    options.log = [&](const hypeman::LogEvent &event) {
        if (event.level == hypeman::LogLevel::Info) heard++;
        throw std::runtime_error("what a log throws goes nowhere");
    };
    std::optional<hypeman::Hypeman> hm(std::in_place, work / "data", options);
    CHECK(hm->data_dir() == work / "data");
    const hypeman::Snapshot made = a_snapshot_is_made(*hm, work);
    every_field_is_there(made);
    CHECK(heard == 1);
    a_call_can_be_ended(*hm);

    std::vector<hypeman::Snapshot> found = hm->snapshots().list({Kind::Stopped, {}, {}, {{"team", "backend"}}});
    CHECK(found.size() == 1 && hm->snapshots().list({Kind::Standby}).empty());
    refused("invalid_request", [&] { hm->snapshots().list({Kind::Unknown}); });
    what_was_moved_from_is_empty(made, hm->instances().get("vm1"), work / "data");
    every_field_is_there(hm->snapshots().get(made.id()));
    every_field_is_there(hm->snapshots().wait(made.id()));
    const hypeman::Inspection inspection = hm->snapshots().inspect(made.id());
    CHECK(!inspection.paused_ms() && inspection.allocated_bytes() > 0 && !inspection.files().empty());
    CHECK(inspection.source_state() == "Stopped" && inspection.libhypeman_version() == HYPEMAN_VERSION);

    refused("invalid_request", [&] { hm->instances().snapshots().create("vm1", {Kind::Unknown}); });
    refused("invalid_request", [&] { hm->snapshots().get(std::string("a\0b", 3)); });
    refused("conflict", [&] { hm->instances().snapshots().create("vm1", {Kind::Stopped, "baseline"}); });
    refused("invalid_state", [&] { hm->snapshots().compress(made.id()); });
    hm->snapshots().remove(made.id());
    const hypeman::Error gone = refused("not_found", [&] { hm->snapshots().get(made.id()); });
    CHECK(gone.id() == made.id() && gone.status() == HYPEMAN_STATUS_NOT_FOUND);
    CHECK(gone.to_json().find("\"not_found\"") != std::string::npos);
    CHECK(gone.http_status() == 404 && hypeman::version() == HYPEMAN_VERSION);
    hm->instances().unregister("vm1");

    hm->finish();
    const hypeman::Snapshots late = hm->snapshots();
    hm->close();
    refused("closed", [&] { late.list(); });
    hm.reset();
    every_field_is_there(found.front());
    every_field_is_there(inspection.snapshot());
    return 0;
}
