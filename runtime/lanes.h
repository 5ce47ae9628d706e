// Values side by side, for one source to serve every processor: the compiler's own vectors (GCC, Clang), and single values.

#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

namespace {

#if defined(__AVX512F__)
constexpr int64_t WIDTH = 16;
#elif defined(__AVX__)
constexpr int64_t WIDTH = 8;
#else
constexpr int64_t WIDTH = 4;
#endif

enum Type : int64_t { FLOAT, BFLOAT, BYTE, PAIR };  // of maps the first two; BYTE and PAIR are codes of spikes

template <class To, class From>
inline To bits_of(From value) {
    static_assert(sizeof(To) == sizeof(From));
    To found;
    std::memcpy(&found, &value, sizeof found);
    return found;
}

// N values side by side: float, and integers of 32, 16 and 8 bits. A bit is an integer, 0 or 1.
template <int64_t N>
struct Lanes {
    typedef float F __attribute__((vector_size(4 * N), aligned(4), may_alias));
    typedef int32_t I __attribute__((vector_size(4 * N), aligned(4), may_alias));
    typedef uint32_t U __attribute__((vector_size(4 * N), aligned(4), may_alias));
    typedef uint16_t H __attribute__((vector_size(2 * N), aligned(2), may_alias));
    typedef uint8_t B __attribute__((vector_size(N), aligned(1), may_alias));

    template <class To, class From>
    static To as(From value) { return __builtin_convertvector(value, To); }
    static I less(F x, F y) { return (I)(x < y) & 1; }
    static F where(I bit, F value) { return (F)(-bit & (I)value); }  // elsewhere 0
};

template <>
struct Lanes<1> {
    typedef float F;
    typedef int32_t I;
    typedef uint32_t U;
    typedef uint16_t H;
    typedef uint8_t B;

    template <class To, class From>
    static To as(From value) { return To(value); }
    static I less(F x, F y) { return x < y; }
    static F where(I bit, F value) { return bit ? value : 0; }
};

template <class L>
struct Cells : L {
    typedef typename L::F F;
    typedef typename L::I I;
    typedef typename L::U U;
    typedef typename L::H H;
    typedef typename L::B B;

    static F all(float value) { return F{} + value; }
    static F size(F x) { return bits_of<F>(bits_of<U>(x) & 0x7fffffffu); }
    static F load(const float* at) { return *(const F*)at; }
    static void store(float* at, F value) { *(F*)at = value; }
    static I load(const uint8_t* at) { return L::template as<I>(*(const B*)at); }
    static void store(uint8_t* at, I value) { *(B*)at = L::template as<B>(value); }

    static F load(const void* from, int64_t type, int64_t at) {
        if (type == FLOAT) return load((const float*)from + at);
        if (type == BYTE) return L::where(L::less(F{}, L::template as<F>(load((const uint8_t*)from + at))), all(1));
        const U read = L::template as<U>(*(const H*)((const uint16_t*)from + at));
        return type == BFLOAT ? bits_of<F>(read << 16) : L::where(L::less(F{}, L::template as<F>(bits_of<I>(read))), all(1));
    }
    static void store(void* to, int64_t type, int64_t at, F value) {
        H* const place = (H*)((uint16_t*)to + at);
        const U bits = bits_of<U>(value);
        if (type == FLOAT)
            store((float*)to + at, value);
        else if (type == BFLOAT)  // to the nearest, of two the even one
            *place = L::template as<H>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
        else if (type == BYTE)
            store((uint8_t*)to + at, L::less(F{}, value));
        else  // the bytes 255 and 1
            *place = L::template as<H>(L::less(F{}, value) * 0x1ff);
    }
};

template <int64_t VALUE>
using Constant = std::integral_constant<int64_t, VALUE>;

// Calls `work` with a constant: the one of those listed that `value` is, the last if it is none. So what depends on it is
// decided once and not for every value.
template <int64_t VALUE, int64_t... OTHERS, class Work>
inline void chosen(int64_t value, Work work) {
    if constexpr (sizeof...(OTHERS) == 0)
        work(Constant<VALUE>{});
    else if (value == VALUE)
        work(Constant<VALUE>{});
    else
        chosen<OTHERS...>(value, work);
}

constexpr int64_t NONE = -1, ANY = -2;  // no such map; what is looked up for every value

constexpr int64_t known(int64_t constant, int64_t value) { return constant == ANY ? value : constant; }

}  // namespace
