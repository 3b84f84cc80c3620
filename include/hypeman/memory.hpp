// SPDX-License-Identifier: Apache-2.0
//
// The guest memory of a snapshot: read at any offset, or served to VMs. A part of hypeman.hpp: include that.
#ifndef HYPEMAN_MEMORY_HPP
#define HYPEMAN_MEMORY_HPP

#include "call.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace hypeman {

enum class ExtentKind : std::int32_t {
    Data = HYPEMAN_EXTENT_KIND_DATA,
    Zero = HYPEMAN_EXTENT_KIND_ZERO,
    Hole = HYPEMAN_EXTENT_KIND_HOLE,
};

// A part of a memory image.
struct Extent {
    std::uint64_t offset;
    std::uint64_t size_bytes;
    ExtentKind kind;
};

// A range of guest-physical memory that lies in one piece in an image.
struct Range {
    std::uint64_t guest_address;
    std::uint64_t offset;
    std::uint64_t size_bytes;
};

// The guest memory of a snapshot, open until the last copy is gone. Until then the snapshot cannot be removed.
class Memory {
public:
    explicit Memory(std::shared_ptr<const hypeman_memory> raw) : raw_(std::move(raw)) {}

    std::string snapshot_id() const { return detail::lent(hypeman_memory_snapshot_id(raw())); }
    std::filesystem::path path() const { return detail::lent(hypeman_memory_path(raw())); }
    std::uint64_t size_bytes() const { return hypeman_memory_size_bytes(raw()); }
    // Fills `length` bytes from byte `offset` of the image; returns how many: fewer only where the image ends.
    std::size_t read(std::uint64_t offset, void *buffer, std::size_t length) const {
        std::size_t read = 0;
        detail::call(hypeman_memory_read, raw(), offset, buffer, length, &read);
        return read;
    }
    std::vector<Extent> extents() const {
        const auto all = detail::made(hypeman_extents_free, hypeman_memory_extents, raw());
        std::vector<Extent> extents;
        for (std::size_t i = 0; i < hypeman_extents_count(all.get()); i++) {
            const hypeman_extent *each = hypeman_extents_at(all.get(), i);
            extents.push_back({each->offset, each->size_bytes, static_cast<ExtentKind>(each->kind)});
        }
        return extents;
    }
    // Throws `not_supported` where the form of the file does not say it for certain.
    std::vector<Range> ranges() const {
        const auto all = detail::made(hypeman_ranges_free, hypeman_memory_ranges, raw());
        std::vector<Range> ranges;
        for (std::size_t i = 0; i < hypeman_ranges_count(all.get()); i++) {
            const hypeman_range *each = hypeman_ranges_at(all.get(), i);
            ranges.push_back({each->guest_address, each->offset, each->size_bytes});
        }
        return ranges;
    }

    const hypeman_memory *raw() const noexcept { return raw_.get(); }

private:
    std::shared_ptr<const hypeman_memory> raw_;
};

// What a pager has done so far. `fault_us[i]` counts faults that took less than 2^i microseconds, and no less than half
// of that; the last entry all longer ones.
struct PagerMetrics {
    std::uint64_t vms, vms_seen, vms_whole;
    std::uint64_t faults;
    std::uint64_t copied_bytes, zero_bytes, prefetched_bytes, filled_bytes;
    std::vector<std::uint64_t> fault_us;
    std::uint64_t errors;
    std::optional<std::string> last_error;
};

// Serves the memory of a snapshot to VMs that run already, until it is stopped, its data directory is closed, or the last
// copy is gone. It keeps the data directory open: VMs must not lose their memory because the Hypeman went out of scope.
class Pager {
public:
    explicit Pager(std::shared_ptr<const hypeman_pager> raw, std::shared_ptr<const hypeman_handle> handle = nullptr)
        : handle_(std::move(handle)), raw_(std::move(raw)) {}

    std::string snapshot_id() const { return detail::lent(hypeman_pager_snapshot_id(raw())); }
    // Where VMs connect.
    std::filesystem::path socket() const { return detail::lent(hypeman_pager_socket(raw())); }
    PagerMetrics metrics() const {
        const auto found = detail::made(hypeman_metrics_free, hypeman_pager_metrics, raw());
        const hypeman_metrics *raw = found.get();
        PagerMetrics metrics{hypeman_metrics_vms(raw),
                             hypeman_metrics_vms_seen(raw),
                             hypeman_metrics_vms_whole(raw),
                             hypeman_metrics_faults(raw),
                             hypeman_metrics_copied_bytes(raw),
                             hypeman_metrics_zero_bytes(raw),
                             hypeman_metrics_prefetched_bytes(raw),
                             hypeman_metrics_filled_bytes(raw),
                             {},
                             hypeman_metrics_errors(raw),
                             detail::optional(hypeman_metrics_last_error(raw))};
        for (std::size_t i = 0; i < 20; i++) metrics.fault_us.push_back(hypeman_metrics_fault_us(raw, i));
        return metrics;
    }
    // Until at least one VM has connected, and each that did is gone or has all of its memory.
    void wait(const Call &call = {}) const {
        detail::RawCall(call).run([&](const hypeman_call_options *watched) {
            detail::call(hypeman_pager_wait, raw(), watched);
            return true;
        });
    }
    // Twice is fine.
    void stop() const { detail::call(hypeman_pager_stop, raw()); }

    const hypeman_pager *raw() const noexcept { return raw_.get(); }

private:
    std::shared_ptr<const hypeman_handle> handle_; // goes after the pager
    std::shared_ptr<const hypeman_pager> raw_;
};

} // namespace hypeman

#endif
