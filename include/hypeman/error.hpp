// SPDX-License-Identifier: Apache-2.0
//
// What goes wrong, and how every call of C is made. A part of hypeman.hpp: include that.
#ifndef HYPEMAN_ERROR_HPP
#define HYPEMAN_ERROR_HPP

#include "../hypeman.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>

namespace hypeman {

// The version of the library that runs; HYPEMAN_VERSION is that of the header.
inline std::string version() { return hypeman_version(); }

// What went wrong in a call: what() says what happened and what to do, code() is stable.
class Error : public std::runtime_error {
public:
    Error(hypeman_status status, const std::string &message)
        : std::runtime_error(message), status_(status) {
        if (const char *code = hypeman_status_code(status)) code_ = code;
    }

    // Takes the error over.
    static Error taken(hypeman_error *raw) {
        const std::unique_ptr<hypeman_error, decltype(&hypeman_error_free)> error(raw, hypeman_error_free);
        Error made(hypeman_error_status(raw), hypeman_error_message(raw));
        made.code_ = hypeman_error_code(raw);
        if (const char *path = hypeman_error_path(raw)) made.path_ = path;
        if (const char *id = hypeman_error_id(raw)) made.id_ = id;
        made.system_ = hypeman_error_errno(raw);
        const std::unique_ptr<char, decltype(&hypeman_string_free)> json(hypeman_error_to_json(raw), hypeman_string_free);
        if (json) made.json_ = json.get();
        return made;
    }

    // One of HYPEMAN_STATUS_...
    hypeman_status status() const noexcept { return status_; }
    // The stable code string, such as "not_found".
    const std::string &code() const noexcept { return code_; }
    // The path concerned, where there is one.
    const std::optional<std::filesystem::path> &path() const noexcept { return path_; }
    // The id of the snapshot or instance concerned, where there is one.
    const std::optional<std::string> &id() const noexcept { return id_; }
    // The error number of the operating system, or 0 where there is none.
    int system_error_number() const noexcept { return system_; }
    // All of it as JSON; "" for an error that this header makes, such as of a text with a NUL in it.
    const std::string &to_json() const noexcept { return json_; }
    // The HTTP status that a server would answer, such as 404.
    int http_status() const noexcept { return hypeman_status_http(status_); }

private:
    hypeman_status status_;
    std::string code_;
    std::optional<std::filesystem::path> path_;
    std::optional<std::string> id_;
    int system_ = 0;
    std::string json_;
};

namespace detail {

// A text for C, which would stop at a NUL inside it and so mean something else.
inline const char *text(const std::string &text) {
    if (text.find('\0') != std::string::npos) throw Error(HYPEMAN_STATUS_INVALID_REQUEST, "a text has a NUL in it");
    return text.c_str();
}
inline const char *text(const std::optional<std::string> &given) { return given ? text(*given) : nullptr; }
inline const char *text(const std::optional<std::filesystem::path> &given) {
    return given ? text(given->native()) : nullptr;
}

// A text of an object's; "" of one that was moved from.
inline std::string lent(const char *borrowed) { return borrowed ? borrowed : ""; }
inline std::optional<std::string> optional(const char *borrowed) {
    return borrowed ? std::optional<std::string>(borrowed) : std::nullopt;
}
inline std::optional<std::filesystem::path> optional_path(const char *borrowed) {
    return borrowed ? std::optional<std::filesystem::path>(borrowed) : std::nullopt;
}

inline std::string json(char *given) {
    const std::unique_ptr<char, decltype(&hypeman_string_free)> owned(given, hypeman_string_free);
    if (!given) throw Error(HYPEMAN_STATUS_NOT_SUPPORTED, "this cannot be written as JSON: a path is not UTF-8");
    return given;
}

template <typename Object, typename Value>
std::optional<Value> present(int32_t (*getter)(const Object *, Value *), const Object *object) {
    Value value{};
    return getter(object, &value) ? std::optional<Value>(value) : std::nullopt;
}

template <typename Object, typename Value>
std::optional<Value> present_at(int32_t (*getter)(const Object *, std::size_t, Value *), const Object *object,
                                std::size_t index) {
    Value value{};
    return getter(object, index, &value) ? std::optional<Value>(value) : std::nullopt;
}

// Makes a call that only succeeds or fails.
template <typename Function, typename... Arguments> void call(Function function, Arguments... arguments) {
    hypeman_error *error = nullptr;
    if (function(arguments..., &error) != HYPEMAN_STATUS_OK) throw Error::taken(error);
}

// Makes a call that hands out an object.
template <typename Object, typename Function, typename... Arguments>
std::shared_ptr<Object> made(void (*free)(Object *), Function function, Arguments... arguments) {
    Object *object = nullptr;
    call(function, arguments..., &object);
    return std::shared_ptr<Object>(object, free);
}

} // namespace detail

} // namespace hypeman

#endif
