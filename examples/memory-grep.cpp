/* Looks for a text, or for bytes, in the guest memory of snapshots: is this key in one that is about to be given away?
 * Nothing is restored or unpacked, and what is all zeros is not read.
 *
 * After `cargo xtask setup`, from the root of the clone:
 * c++ -std=c++17 -pthread -Iinclude examples/memory-grep.cpp -Ltarget/release -lhypeman \
 *     -Wl,-rpath,$PWD/target/release -o memory-grep
 * ./memory-grep DATA_DIR TEXT|0xBYTES [SNAPSHOT...]
 *
 * Without ids it looks through every snapshot that has memory. It prints a line for each place: the snapshot, where the
 * guest has it, and what stands around it. "+" before a number says that it is an offset in the image, whose form does
 * not tell guest-physical addresses. What a guest has in one piece may lie in pages that are no neighbours: a part of a
 * long text is found more surely than all of it.
 *
 * It ends with 0 where something was found, with 1 where nothing was, and with 2 where it could not look at everything.
 */
#include <hypeman.hpp>

#include <algorithm>
#include <atomic>
#include <functional>
#include <future>
#include <iostream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr std::uint64_t PIECE_BYTES = 4 << 20; // what a thread reads at once
constexpr std::uint64_t AROUND_BYTES = 16;     // what is shown on each side

struct Piece {
    std::uint64_t begin, end;
};

// Where a match can be: what is not all zeros, and as much beside it as a match of `length` bytes may stick out.
std::vector<Piece> parts(const hypeman::Memory &memory, std::uint64_t length)
{
    std::vector<Piece> parts;
    for (const hypeman::Extent &extent : memory.extents()) {
        if (extent.kind != hypeman::ExtentKind::Data) continue;
        const std::uint64_t begin = extent.offset - std::min(extent.offset, length - 1);
        const std::uint64_t end = std::min(extent.offset + extent.size_bytes + length - 1, memory.size_bytes());
        if (!parts.empty() && begin <= parts.back().end)
            parts.back().end = end;
        else
            parts.push_back({begin, end});
    }
    return parts;
}

// The parts, cut for the threads. Two pieces share just less than a match, so that each match lies in one of them.
std::vector<Piece> pieces(const std::vector<Piece> &parts, std::uint64_t length)
{
    std::vector<Piece> pieces;
    for (const Piece &part : parts)
        for (std::uint64_t begin = part.begin; begin + length <= part.end; begin += PIECE_BYTES)
            pieces.push_back({begin, std::min(begin + PIECE_BYTES + length - 1, part.end)});
    return pieces;
}

struct Found {
    std::vector<std::uint64_t> offsets;
    std::vector<std::string> troubles; // of pieces that cannot be read; the others are looked at all the same
};

// Takes pieces as long as there are any; several threads do so at once.
Found look(const hypeman::Memory &memory, const std::vector<Piece> &pieces, std::atomic<std::size_t> &next,
           const std::string &wanted)
{
    const std::boyer_moore_horspool_searcher searcher(wanted.begin(), wanted.end());
    Found found;
    std::string bytes;
    for (std::size_t i = next++; i < pieces.size(); i = next++) {
        bytes.resize(pieces[i].end - pieces[i].begin);
        try {
            bytes.resize(memory.read(pieces[i].begin, bytes.data(), bytes.size()));
        } catch (const hypeman::Error &error) {
            found.troubles.push_back(memory.path().string() + ": " + error.what());
            continue;
        }
        for (auto at = bytes.begin(); (at = std::search(at, bytes.end(), searcher)) != bytes.end(); ++at)
            found.offsets.push_back(pieces[i].begin + static_cast<std::uint64_t>(at - bytes.begin()));
    }
    return found;
}

Found look_everywhere(const hypeman::Memory &memory, const std::vector<Piece> &parts, const std::string &wanted)
{
    const std::vector<Piece> all = pieces(parts, wanted.size());
    std::atomic<std::size_t> next{0};
    std::vector<std::future<Found>> threads;
    for (unsigned i = 0; i < std::max(std::thread::hardware_concurrency(), 2u); i++)
        threads.push_back(std::async(std::launch::async, look, std::cref(memory), std::cref(all), std::ref(next),
                                     std::cref(wanted)));
    Found found;
    for (std::future<Found> &thread : threads) {
        const Found part = thread.get();
        found.offsets.insert(found.offsets.end(), part.offsets.begin(), part.offsets.end());
        found.troubles.insert(found.troubles.end(), part.troubles.begin(), part.troubles.end());
    }
    std::sort(found.offsets.begin(), found.offsets.end());
    return found;
}

// None where the form of the image does not tell them.
std::vector<hypeman::Range> ranges_of(const hypeman::Memory &memory)
{
    try {
        return memory.ranges();
    } catch (const hypeman::Error &error) {
        if (error.status() != HYPEMAN_STATUS_NOT_SUPPORTED) throw;
        return {};
    }
}

std::string address(const std::vector<hypeman::Range> &ranges, std::uint64_t offset)
{
    const auto range = std::find_if(ranges.begin(), ranges.end(), [&](const hypeman::Range &each) {
        return offset >= each.offset && offset - each.offset < each.size_bytes;
    });
    std::ostringstream text;
    text << std::hex;
    if (range == ranges.end())
        text << "+0x" << offset;
    else
        text << "0x" << range->guest_address + (offset - range->offset);
    return text.str();
}

std::string surroundings(const hypeman::Memory &memory, std::uint64_t offset, std::uint64_t length)
{
    const std::uint64_t before = std::min(offset, AROUND_BYTES);
    std::string bytes(before + length + AROUND_BYTES, '\0');
    try {
        bytes.resize(memory.read(offset - before, bytes.data(), bytes.size()));
    } catch (const hypeman::Error &) {
        // What stands beside it is damaged. It itself was read before.
        bytes.resize(memory.read(offset, bytes.data(), length));
    }
    for (char &byte : bytes)
        if (byte < ' ' || byte > '~') byte = '.';
    return bytes;
}

// Returns whether all of the snapshot could be looked at.
bool search(const hypeman::Memory &memory, const std::string &wanted, std::size_t &total)
{
    const std::vector<Piece> where = parts(memory, wanted.size());
    const std::vector<hypeman::Range> ranges = ranges_of(memory);
    const Found found = look_everywhere(memory, where, wanted);
    const std::string id = memory.snapshot_id();
    for (const std::uint64_t offset : found.offsets)
        std::cout << id << ' ' << address(ranges, offset) << ' ' << surroundings(memory, offset, wanted.size()) << '\n';
    for (const std::string &trouble : found.troubles) std::cerr << "memory-grep: " << trouble << '\n';
    std::uint64_t looked_at_bytes = 0;
    for (const Piece &part : where) looked_at_bytes += part.end - part.begin;
    std::cout << id << ": " << found.offsets.size() << " found in " << (looked_at_bytes >> 10) << " KiB of "
              << (memory.size_bytes() >> 10) << " KiB\n";
    total += found.offsets.size();
    return found.troubles.empty();
}

std::string parsed(const std::string &given)
{
    std::string wanted = given;
    if (given.rfind("0x", 0) == 0) {
        if (given.size() % 2 || given.find_first_not_of("0123456789abcdefABCDEF", 2) != std::string::npos)
            throw std::invalid_argument("bytes are two digits each: " + given);
        wanted.clear();
        for (std::size_t i = 2; i < given.size(); i += 2)
            wanted.push_back(static_cast<char>(std::stoi(given.substr(i, 2), nullptr, 16)));
    }
    // They would be wherever we do not look.
    if (wanted.find_first_not_of('\0') == std::string::npos) throw std::invalid_argument("there are no zeros to look for");
    return wanted;
}

int run(const std::string &data_dir, const std::string &wanted, std::vector<std::string> ids)
{
    hypeman::OpenOptions options;
    options.read_only = true; // its host may be at work in there
    const hypeman::Hypeman hm(data_dir, options);
    if (ids.empty())
        for (const hypeman::Snapshot &snapshot : hm.snapshots().list({hypeman::Kind::Standby})) ids.push_back(snapshot.id());
    std::size_t total = 0;
    bool is_all = true;
    for (const std::string &id : ids) {
        try {
            is_all &= search(hm.snapshots().memory(id), wanted, total);
        } catch (const hypeman::Error &error) {
            std::cerr << "memory-grep: " << error.what() << '\n';
            is_all = false;
        }
    }
    return !is_all ? 2 : total ? 0 : 1;
}

} // namespace

int main(int argc, char **argv)
{
    if (argc < 3) {
        std::cerr << "usage: memory-grep DATA_DIR TEXT|0xBYTES [SNAPSHOT...]\n";
        return 2;
    }
    try {
        return run(argv[1], parsed(argv[2]), {argv + 3, argv + argc});
    } catch (const std::exception &error) {
        std::cerr << "memory-grep: " << error.what() << '\n';
        return 2;
    }
}
