// The neuron over all time steps, fused with the scale and shift of a batch norm and a residual, on the CPU: the functions of
// kernels.py, whose letters, codes and formulas these are, for any number of steps. The order of roundings is theirs too.
//
// Maps are (steps, rows, channels), contiguous, float or bfloat16; potentials and sums are float. Rows are taken some at a time,
// so that potentials stay in the nearest cache while time passes, and memory is read and written in long pieces.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include <omp.h>

namespace {

#if defined(__AVX512F__)
constexpr int64_t WIDTH = 16;
#elif defined(__AVX__)
constexpr int64_t WIDTH = 8;
#else
constexpr int64_t WIDTH = 4;
#endif

constexpr int64_t CELLS = 512;     // values of a step that are taken at once, or a row if that has more
constexpr int64_t GROUP = 64;      // rows whose sums are added up in float
constexpr int64_t STEPS_A_BYTE = 4;

enum Surrogate : int64_t { RECTANGLE, TRIANGLE, ARCTAN, LINEAR };
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

struct Neuron {
    float v_threshold, decay, width, height, damping;
    int32_t hard, surrogate, steps;
};

template <class L, class F = typename L::F>
inline F slope(const Neuron& n, F x) {
    F found;
    if (n.surrogate == ARCTAN) {
        const F scaled = 1.5707963267948966f / n.width * x;
        found = 1 / (2 * n.width * (1 + scaled * scaled));
    } else {
        found = 1 - L::size(x) / n.width;
        found = L::where(L::less(F{}, found), found);
        if (n.surrogate == TRIANGLE) found = found / n.width;
    }
    return n.damping == 1 ? found : found * n.damping;
}

// What is computed of which maps; null where there is none. Of x there may be one step for all.
struct Forward {
    const void *x, *residual;
    const float *scale, *shift, *start;
    void *spikes, *slopes;
    uint8_t* code;
    float* end;
    int64_t once, rows, channels, type, residual_type, spike_type;
};

struct Backward {
    const void *grad, *slopes, *x;
    const uint8_t* code;
    const float *dend, *mean, *a, *b, *c;
    void *dx, *kept;
    float *dstart, *sums;  // sums: (2, channels), of dX and of dX (x - mean)
    int64_t once, rows, channels, type;
};

// Calls `work` for each cell of `rows` rows of `channels`, as many side by side as fit: (Cells, cell, channel).
template <class Work>
inline void cells(int64_t rows, int64_t channels, Work work) {
    for (int64_t row = 0; row < rows; ++row) {
        int64_t c = 0;
        for (; c + WIDTH <= channels; c += WIDTH) work(Cells<Lanes<WIDTH>>{}, row * channels + c, c);
        for (; c < channels; ++c) work(Cells<Lanes<1>>{}, row * channels + c, c);
    }
}

void forward_rows(const Neuron& n, const Forward& m, int64_t first, int64_t rows, float* left, uint8_t* bits) {
    const int64_t all = m.rows * m.channels, from = first * m.channels;
    for (int64_t t = 0; t < n.steps; ++t) {
        const int64_t here = t * all + from, place = t % STEPS_A_BYTE, byte = t / STEPS_A_BYTE * all + from;
        const bool ends = t + 1 == n.steps, fills = ends || place + 1 == STEPS_A_BYTE;
        const float* before = t ? left : m.start ? m.start + from : nullptr;
        float* after = ends && m.end ? m.end + from : left;
        cells(rows, m.channels, [&](auto lanes, int64_t i, int64_t c) {
            typedef decltype(lanes) L;
            typedef typename L::F F;
            typedef typename L::I I;
            F u = L::load(m.x, m.type, (m.once ? from : here) + i);
            if (m.scale) u = u * L::load(m.scale + c) + L::load(m.shift + c);
            if (m.residual) u = u + L::load(m.residual, m.residual_type, here + i);
            if (before) u = u + n.decay * L::load(before + i);
            const I fires = L::less(L::all(n.v_threshold), u);
            const F fired = L::where(fires, L::all(1));
            L::store(m.spikes, m.spike_type, here + i, fired);
            L::store(after + i, n.hard ? u - u * fired : u - n.v_threshold * fired);
            if (!m.code) return;
            const F x = u - n.v_threshold;
            I own = (fires + 2 * L::less(L::size(x), L::all(n.width))) << int(2 * place);
            if (place) own = own + L::load(bits + i);
            L::store(fills ? m.code + byte + i : bits + i, own);
            if (m.slopes) L::store(m.slopes, m.type, here + i, slope<L>(n, x));
        });
    }
}

// `use(Cells, t, cell, channel, dX)` is called from the last step to the first.
template <class Use>
inline void back_rows(const Neuron& n, const Backward& m, int64_t first, int64_t rows, float* left, Use use) {
    const int64_t all = m.rows * m.channels, from = first * m.channels;
    for (int64_t t = n.steps - 1; t >= 0; --t) {
        const int64_t here = t * all + from, byte = t / STEPS_A_BYTE * all + from;
        const int place = int(2 * (t % STEPS_A_BYTE));
        const bool ends = t + 1 == n.steps;
        const float* later = !ends ? left : m.dend ? m.dend + from : nullptr;
        const float share = ends ? 1 : n.decay;
        cells(rows, m.channels, [&](auto lanes, int64_t i, int64_t c) {
            typedef decltype(lanes) L;
            typedef typename L::F F;
            typedef typename L::I I;
            const I bits = L::load(m.code + byte + i) >> place;
            const F grad = L::load(m.grad, m.type, here + i);
            F du = grad * (m.slopes ? L::load(m.slopes, m.type, here + i) : L::where((bits >> 1) & 1, L::all(n.height)));
            if (later) {
                const F next = L::load(later + i);
                du = du + share * (n.hard ? next - next * L::where(bits & 1, L::all(1)) : next);
            }
            L::store(left + i, du);
            use(lanes, t, i, c, du);
        });
    }
}

int64_t rows_at_once(int64_t channels) { return std::max<int64_t>(1, CELLS / channels); }

// Rows [first, last) some at a time, each thread its share of them, in parts of `part` rows: work(first, rows, thread).
template <class Work>
void shared(int64_t rows, int64_t part, int64_t threads, Work work) {
    const int64_t parts = (rows + part - 1) / part;
#pragma omp parallel num_threads(threads)
    {
        const int64_t rank = omp_get_thread_num(), size = omp_get_num_threads();
        for (int64_t i = parts * rank / size; i < parts * (rank + 1) / size; ++i)
            work(i * part, std::min(part, rows - i * part), rank);
    }
}

}  // namespace

extern "C" {

void idsnn_spiking_forward(const Neuron* neuron, const Forward* maps, int64_t threads) {
    Forward m = *maps;
    if (!m.scale) {  // nothing is per channel
        m.rows = m.rows * m.channels;
        m.channels = 1;
        while (m.channels < CELLS && m.rows % 2 == 0) m.rows /= 2, m.channels *= 2;
    }
    shared(m.rows, rows_at_once(m.channels), threads, [&](int64_t first, int64_t rows, int64_t) {
        thread_local std::vector<float> left;
        thread_local std::vector<uint8_t> bits;
        left.resize(rows * m.channels), bits.resize(rows * m.channels);
        forward_rows(*neuron, m, first, rows, left.data(), bits.data());
    });
}

// dX in `dx` without x; else `a dX + b x + c` there, or of its sum over time if x has one step, and dX in `kept` if asked.
void idsnn_spiking_gradients(const Neuron* neuron, const Backward* maps, int64_t threads) {
    const Backward& m = *maps;
    const int64_t all = m.rows * m.channels;
    const int64_t type = m.type;
    shared(m.rows, rows_at_once(m.channels), threads, [&](int64_t first, int64_t rows, int64_t) {
        thread_local std::vector<float> left, total;
        left.resize(rows * m.channels), total.resize(rows * m.channels);
        const int64_t from = first * m.channels;
        back_rows(*neuron, m, first, rows, left.data(), [&](auto lanes, int64_t t, int64_t i, int64_t c, auto du) {
            typedef decltype(lanes) L;
            const int64_t here = t * all + from + i;
            if (m.kept) L::store(m.kept, type, here, du);
            if (!t && m.dstart) L::store(m.dstart + from + i, neuron->decay * du);
            if (!m.x) return L::store(m.dx, type, here, du);
            if (m.once) {
                if (t + 1 < neuron->steps) du = du + L::load(total.data() + i);
                if (t) return L::store(total.data() + i, du);
            }
            const int64_t seen = m.once ? from + i : here;
            L::store(m.dx, type, seen, du * L::load(m.a + c) + L::load(m.x, type, seen) * L::load(m.b + c) + L::load(m.c + c));
        });
    });
}

// Sums over time and rows, of dX and of dX (x - mean): in float over GROUP rows, then in double.
void idsnn_spiking_sums(const Neuron* neuron, const Backward* maps, int64_t threads) {
    const Backward& m = *maps;
    const int64_t all = m.rows * m.channels, wide = 2 * m.channels;
    std::vector<double> found(threads * wide, 0.0);
    shared(m.rows, GROUP, threads, [&](int64_t first, int64_t rows, int64_t thread) {
        thread_local std::vector<float> left, some;
        const int64_t most = rows_at_once(m.channels);
        left.resize(most * m.channels);
        some.assign(wide, 0.0f);
        for (int64_t row = 0; row < rows; row += most) {
            const int64_t from = (first + row) * m.channels;
            const auto add = [&](auto lanes, int64_t t, int64_t i, int64_t c, auto du) {
                typedef decltype(lanes) L;
                const auto x = L::load(m.x, m.type, (m.once ? 0 : t * all) + from + i) - L::load(m.mean + c);
                float *total = some.data() + c, *dotted = total + m.channels;
                L::store(total, L::load(total) + du);
                L::store(dotted, L::load(dotted) + du * x);
            };
            back_rows(*neuron, m, first + row, std::min(most, rows - row), left.data(), add);
        }
        for (int64_t c = 0; c < wide; ++c) found[thread * wide + c] += some[c];
    });
    for (int64_t c = 0; c < wide; ++c) {
        double whole = 0;
        for (int64_t thread = 0; thread < threads; ++thread) whole += found[thread * wide + c];
        m.sums[c] = float(whole);
    }
}
}
