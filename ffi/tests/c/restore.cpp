// Snapshots are restored, read and verified through hypeman.hpp.
// WORK holds vm/ (Stopped) and standby/ (Standby), each with a disk.raw of 65536 bytes 7.
#include "check.h"
#include <hypeman.hpp>

#include <fstream>

namespace fs = std::filesystem;
using hypeman::Kind;

template <typename Call> void refused(const char *code, Call call)
{
    try {
        call();
    } catch (const hypeman::Error &error) {
        CHECK(error.code() == code);
        return;
    }
    CHECK(!"an exception was thrown");
}

static std::string contents(const fs::path &path)
{
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

static void put_byte(const fs::path &path, char byte)
{
    std::fstream(path, std::ios::binary | std::ios::in | std::ios::out).write(&byte, 1);
}

static hypeman::Snapshot snapshot_of(const hypeman::Hypeman &hm, const fs::path &work, const std::string &name, Kind kind)
{
    hypeman::RegisterOptions registration{name, "qemu"};
    registration.directory = work / name;
    hm.instances().register_instance(registration);
    hypeman::CreateOptions options{kind};
    if (kind == Kind::Standby) options.compression = hypeman::Compression{true, "lz4", 0};
    return hm.snapshots().wait(hm.instances().snapshots().create(name, options).id());
}

static void files_come_back(const hypeman::Hypeman &hm, const fs::path &work, const std::string &stopped)
{
    const fs::path disk = work / "vm/disk.raw";
    const auto snapshots = hm.instances().snapshots();
    put_byte(disk, 1);
    int heard = 0;
    hypeman::Call call;
    call.progress = [&](const hypeman::Progress &) { return ++heard > 0; };
    CHECK(snapshots.restore(stopped, "vm", {}, call).state() == "Stopped");
    CHECK(contents(disk) == std::string(65536, 7) && heard > 0);

    put_byte(disk, 1);
    refused("invalid_request", [&] { snapshots.restore(stopped, "vm", {"Standby"}); });
    refused("not_supported", [&] { snapshots.restore(stopped, "vm", {"Running"}); });
    refused("not_found", [&] { snapshots.restore("nope", "vm"); });
    call.progress = [](const hypeman::Progress &) { return false; };
    refused("cancelled", [&] { snapshots.restore(stopped, "vm", {}, call); });
    CHECK(contents(disk)[0] == 1);
}

static void memory_is_the_guests(const hypeman::Hypeman &hm, const fs::path &work, const std::string &standby)
{
    const std::string whole = contents(work / "standby/snapshots/snapshot-latest/memory");
    std::optional<hypeman::Memory> memory(hm.snapshots().memory(standby));
    CHECK(memory->size_bytes() == whole.size() && memory->snapshot_id() == standby);
    CHECK(memory->path().extension() == ".lz4");
    std::string read(70000, 'x');
    CHECK(memory->read(65530, read.data(), read.size()) == read.size() && read == whole.substr(65530, read.size()));
    CHECK(memory->read(whole.size() - 5, read.data(), read.size()) == 5);
    std::uint64_t end = 0;
    for (const hypeman::Extent &extent : memory->extents()) {
        CHECK(extent.offset == end && extent.kind != hypeman::ExtentKind::Hole);
        end += extent.size_bytes;
    }
    CHECK(end == whole.size());
    refused("not_supported", [&] { memory->ranges(); });
    refused("busy", [&] { hm.snapshots().remove(standby); });
    memory.reset();
    fs::remove(work / "standby/snapshots/snapshot-latest/memory");
    const hypeman::Instance restored = hm.instances().snapshots().restore(standby, "standby");
    CHECK(restored.state() == "Standby" && restored.generation() == 1);
    CHECK(!hm.instances().get("standby").generation());
    CHECK(contents(work / "standby/snapshots/snapshot-latest/memory") == whole);
    hm.snapshots().remove(standby);
}

static void damage_is_found(const hypeman::Hypeman &hm, const fs::path &work, const std::string &stopped)
{
    hypeman::Verification report = hm.snapshots().verify(stopped);
    while (report.files().at(0).status == "unchecked") report = hm.snapshots().verify(stopped);
    CHECK(report.is_good() && report.defects().empty() && report.files().size() == 1);
    CHECK(report.snapshot_id() == stopped && report.files()[0].size_bytes == 65536);

    fs::remove(work / "data/snapshots" / stopped / "guest/disk.raw");
    const hypeman::Verification damaged = hm.snapshots().verify(stopped);
    const std::vector<hypeman::Defect> defects = damaged.defects();
    CHECK(!damaged.is_good() && defects.size() == 1 && damaged.files().empty());
    CHECK(defects[0].path == "guest/disk.raw" && defects[0].kind == "missing" && !defects[0].offset);
    CHECK(!defects[0].size_bytes && damaged.to_json().find(defects[0].message) != std::string::npos);
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    const fs::path work = argv[1];
    const hypeman::Hypeman hm(work / "data");
    const std::string stopped = snapshot_of(hm, work, "vm", Kind::Stopped).id();
    const std::string standby = snapshot_of(hm, work, "standby", Kind::Standby).id();
    files_come_back(hm, work, stopped);
    memory_is_the_guests(hm, work, standby);
    damage_is_found(hm, work, stopped);
    return 0;
}
