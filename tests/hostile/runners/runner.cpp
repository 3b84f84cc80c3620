// Bears a hostile store through the C++ API: runner ENTRIES DATA_DIR INSTANCE_DIR (see ../corpus/runner.rs).
#include <hypeman.hpp>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <sys/stat.h>
#include <vector>

namespace {

constexpr std::uint64_t MIB = 1 << 20;

// "ok", or what else the call answers, or the code of its error.
std::string code(const std::function<std::string()> &call) {
    try {
        return call();
    } catch (const hypeman::Error &error) {
        return error.code();
    }
}

std::string listed(const hypeman::Hypeman &hm) {
    return code([&] { return std::to_string(hm.snapshots().list().size()); });
}

std::string verified(const hypeman::Hypeman &hm, const std::string &id) {
    const auto report = hm.snapshots().verify(id);
    return report.is_good() ? "good" : report.defects().empty() ? "unchecked" : "bad";
}

std::string memory_read(const hypeman::Hypeman &hm, const std::string &id) {
    static std::vector<char> buffer(MIB);
    const auto image = hm.snapshots().memory(id);
    const std::uint64_t size = image.size_bytes();
    for (const std::uint64_t at : {std::uint64_t{0}, size / 2, size > MIB ? size - MIB : 0})
        image.read(at, buffer.data(), buffer.size());
    return "ok";
}

long status_of(const std::string &name) {
    std::ifstream file("/proc/self/status");
    for (std::string line; std::getline(file, line);)
        if (line.rfind(name + ":", 0) == 0) return std::stol(line.substr(name.size() + 1)) * 1024;
    return 0;
}

std::string created(const hypeman::Hypeman &hm) {
    hypeman::CreateOptions options{hypeman::Kind::Standby};
    options.compression = hypeman::Compression{true, "zstd", std::nullopt};
    hm.snapshots().wait(hm.instances().snapshots().create("web", options).id());
    return "ok";
}

} // namespace

int main(int count, char **arguments) {
    if (count != 4) return 2;
    std::ifstream entries(arguments[1]);
    const std::filesystem::path memory_file = std::filesystem::path(arguments[3]) / "snapshots/snapshot-latest/memory";
    umask(0);
    long baseline = 0;
    {
        const hypeman::Hypeman hm(arguments[2]);
        std::printf("list %s\n", listed(hm).c_str());
        std::ofstream("/proc/self/clear_refs") << "5";
        baseline = status_of("VmRSS");
        for (std::string line; std::getline(entries, line);) {
            const auto space = line.find(' ');
            const std::string label = line.substr(0, space), id = line.substr(space + 1);
            const auto verify = code([&] { return verified(hm, id); });
            const auto get = code([&] { return hm.snapshots().get(id), "ok"; });
            const auto inspect = code([&] { return hm.snapshots().inspect(id), "ok"; });
            const auto memory = code([&] { return memory_read(hm, id); });
            const auto restore = code([&] { return hm.instances().snapshots().restore(id, "web"), "ok"; });
            std::filesystem::remove(memory_file);
            const auto removed = code([&] { return hm.snapshots().remove(id), "ok"; });
            std::printf("%s get=%s inspect=%s verify=%s memory=%s restore=%s delete=%s\n", label.c_str(), get.c_str(),
                        inspect.c_str(), verify.c_str(), memory.c_str(), restore.c_str(), removed.c_str());
        }
        std::ofstream(memory_file) << "memory";
        std::printf("create %s\n", code([&] { return created(hm); }).c_str());
        std::printf("list %s\n", listed(hm).c_str());
    }
    std::printf("rss %ld\n", std::max(status_of("VmHWM") - baseline, 0L));
    return 0;
}
