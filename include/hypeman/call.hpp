// SPDX-License-Identifier: Apache-2.0
//
// How a long call is watched and ended. A part of hypeman.hpp: include that.
#ifndef HYPEMAN_CALL_HPP
#define HYPEMAN_CALL_HPP

#include "error.hpp"

#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>

namespace hypeman {

// Ends running calls, from any thread. Copies are the same token.
class Cancel {
public:
    Cancel() : raw_(hypeman_cancel_new(), hypeman_cancel_free) {}
    void request() const noexcept { hypeman_cancel_request(raw_.get()); }
    const hypeman_cancel *raw() const noexcept { return raw_.get(); }

private:
    std::shared_ptr<hypeman_cancel> raw_;
};

enum class Phase : std::int32_t {
    Preparing = HYPEMAN_PHASE_PREPARING,
    SavingMemory = HYPEMAN_PHASE_SAVING_MEMORY,
    CopyingDisks = HYPEMAN_PHASE_COPYING_DISKS,
    Syncing = HYPEMAN_PHASE_SYNCING,
    Compressing = HYPEMAN_PHASE_COMPRESSING,
    Verifying = HYPEMAN_PHASE_VERIFYING,
};

struct Progress {
    Phase phase;
    std::uint64_t bytes_done;
    std::uint64_t bytes_total; // 0 while unknown
};

// How one long call is watched and ended.
struct Call {
    std::optional<std::chrono::milliseconds> timeout; // zero is over at once
    std::optional<Cancel> cancel;
    // Hears how far the call has come, on the calling thread; false cancels. What it throws cancels, too, and is
    // thrown by the call.
    std::function<bool(const Progress &)> progress;
};

namespace detail {

// A call as C sees it. No exception may cross C: what the callback throws waits here.
struct RawCall {
    explicit RawCall(const Call &call) : listener(call.progress) {
        if (call.timeout) {
            const auto ms = call.timeout->count();
            raw.timeout_ms = ms > 0 ? static_cast<std::uint64_t>(ms) : HYPEMAN_TIMEOUT_AT_ONCE;
        }
        if (call.cancel) raw.cancel = call.cancel->raw();
        if (listener) {
            raw.progress = hear;
            raw.user = this;
        }
    }
    RawCall(const RawCall &) = delete;
    RawCall &operator=(const RawCall &) = delete;

    // Makes `what` with this call, and throws what the callback threw.
    template <typename What> auto run(What what) {
        try {
            return what(&raw);
        } catch (const Error &) {
            if (thrown) std::rethrow_exception(thrown);
            throw;
        }
    }

    static int hear(const hypeman_progress *progress, void *user) noexcept {
        auto *self = static_cast<RawCall *>(user);
        try {
            const Progress told{static_cast<Phase>(progress->phase), progress->bytes_done, progress->bytes_total};
            return self->listener(told) ? 0 : 1;
        } catch (...) {
            self->thrown = std::current_exception();
            return 1;
        }
    }

    hypeman_call_options raw = HYPEMAN_CALL_OPTIONS_INIT;
    const std::function<bool(const Progress &)> &listener;
    std::exception_ptr thrown;
};

} // namespace detail

} // namespace hypeman

#endif
