// The neuron over all time steps, fused with the scale and shift of a batch norm and a residual, on the CPU: the functions of
// kernels.py, whose letters, codes and formulas these are, for any number of steps. The order of roundings is theirs too.
//
// Maps are (steps, rows, channels), contiguous, float or bfloat16; potentials and sums are float. Rows are taken a few at a
// time, so that potentials stay in the nearest cache while time passes, and memory is read and written in long pieces.

#include <algorithm>
#include <cstdint>
#include <vector>

#include <omp.h>

#include "lanes.h"

namespace {

constexpr int64_t CELLS = 512;     // values of a step that are taken at once, or a row if that has more
constexpr int64_t GROUP = 64;      // rows whose sums are added up in float
constexpr int64_t STEPS_A_BYTE = 4;

enum Surrogate : int64_t { RECTANGLE, TRIANGLE, ARCTAN, LINEAR };

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

struct Part {  // rows and channels
    int64_t first, rows, begin, end;
};

// Calls `work` for the channels of some rows that fit side by side, and `rest` for the others, by four and one by one.
template <class Work, class Rest>
inline void columns(int64_t first, int64_t rows, int64_t channels, Work work, Rest rest) {
    const int64_t most = channels / WIDTH * WIDTH, some = channels / 4 * 4;
    if (most) work(Part{first, rows, 0, most});
    if (most < some) rest(Constant<4>{}, Part{first, rows, most, some});
    if (some < channels) rest(Constant<1>{}, Part{first, rows, some, channels});
}

// Calls `work` for each cell: (its place among the rows', channel).
template <int64_t LANES, class Work>
inline void cells(const Part& part, int64_t channels, Work work) {
    for (int64_t row = 0; row < part.rows; ++row)
        for (int64_t c = part.begin; c < part.end; c += LANES) work(row * channels + c, c);
}

// Four steps at a time, whose potentials stay in registers; `left` holds those between.
template <int64_t LANES, int64_t TYPE, int64_t NORM, int64_t RESIDUAL, int64_t SPIKES, int64_t KEPT>
void forward_part(const Neuron n, const Forward m, const Part part, float* left) {
    typedef Cells<Lanes<LANES>> L;
    typedef typename L::F F;
    typedef typename L::I I;
    const int64_t first = part.first;
    const int64_t all = m.rows * m.channels, from = first * m.channels;
    for (int64_t t = 0; t < n.steps; t += STEPS_A_BYTE) {
        const int64_t count = std::min(STEPS_A_BYTE, n.steps - t);
        const float* before = t ? left : m.start ? m.start + from : nullptr;
        float* after = t + count < n.steps ? left : m.end ? m.end + from : nullptr;
        uint8_t* code = m.code + t / STEPS_A_BYTE * all + from;
        const bool norm = known(NORM, m.scale != nullptr), kept = known(KEPT, m.code != nullptr);
        cells<LANES>(part, m.channels, [=](int64_t i, int64_t c) {
            F scale{}, shift{}, carried{};
            I bits{};
            if (norm) scale = L::load(m.scale + c), shift = L::load(m.shift + c);
            if (before) carried = L::load(before + i);
#pragma GCC unroll 4
            for (int64_t place = 0; place < STEPS_A_BYTE; ++place) {
                if (place >= count) break;
                const int64_t here = (t + place) * all + from + i;
                F u = L::load(m.x, known(TYPE, m.type), m.once ? from + i : here);
                if (norm) u = u * scale + shift;
                if (RESIDUAL == ANY ? m.residual != nullptr : RESIDUAL != NONE)
                    u = u + L::load(m.residual, known(RESIDUAL, m.residual_type), here);
                if (place || before) u = u + n.decay * carried;
                const I fires = L::less(L::all(n.v_threshold), u);
                const F fired = L::where(fires, L::all(1));
                L::store(m.spikes, known(SPIKES, m.spike_type), here, fired);
                carried = n.hard ? u - u * fired : u - n.v_threshold * fired;
                if (!kept) continue;
                const F x = u - n.v_threshold;
                bits = bits + ((fires + 2 * L::less(L::size(x), L::all(n.width))) << int(2 * place));
                if (m.slopes) L::store(m.slopes, known(TYPE, m.type), here, slope<L>(n, x));
            }
            if (kept) L::store(code + i, bits);
            if (after) L::store(after + i, carried);
        });
    }
}

// `use(Cells, later, cell, channel)` gives what is to become of dX in four steps of a cell, `later` telling whether others came
// before: called with (place in a map, dX) from the last to the first, then its `end(t, dX)` with the first of them.
template <int64_t LANES, int64_t TYPE, int64_t SLOPES, class Use>
inline void back_part(const Neuron n, const Backward m, const Part part, float* left, Use use) {
    typedef Cells<Lanes<LANES>> L;
    typedef typename L::F F;
    typedef typename L::I I;
    const int64_t first = part.first;
    const int64_t all = m.rows * m.channels, from = first * m.channels;
    for (int64_t t = (n.steps - 1) / STEPS_A_BYTE * STEPS_A_BYTE; t >= 0; t -= STEPS_A_BYTE) {
        const int64_t count = std::min(STEPS_A_BYTE, n.steps - t);
        const bool ends = t + count == n.steps;
        const float* later = !ends ? left : m.dend ? m.dend + from : nullptr;
        const uint8_t* code = m.code + t / STEPS_A_BYTE * all + from;
        const bool slopes = known(SLOPES, m.slopes != nullptr);
        cells<LANES>(part, m.channels, [=](int64_t i, int64_t c) {
            const I byte = L::load(code + i);
            F du{};
            if (later) du = L::load(later + i);
            auto taken = use(L{}, !ends, from + i, c);
#pragma GCC unroll 4
            for (int64_t place = STEPS_A_BYTE - 1; place >= 0; --place) {
                if (place >= count) continue;
                const int64_t here = (t + place) * all + from + i;
                const I bits = byte >> int(2 * place);
                const F grad = L::load(m.grad, known(TYPE, m.type), here);
                const F inside = L::where((bits >> 1) & 1, L::all(n.height));
                const F own = grad * (slopes ? L::load(m.slopes, known(TYPE, m.type), here) : inside);
                const bool last = ends && place + 1 == count;
                const F held = n.hard ? du - du * L::where(bits & 1, L::all(1)) : du;
                du = last ? (later ? own + held : own) : own + n.decay * held;
                taken(here, du);
            }
            if (t) L::store(left + i, du);
            taken.end(t, du);
        });
    }
}

// dX summed over time and rows, and dX (x - mean).
template <class L, int64_t TYPE>
struct Summed {
    typedef typename L::F F;
    const void* x;
    int64_t type, once;  // the cell of x if that has one step, else -1
    float *totals, *dots;
    F mean, total, dotted;

    inline void operator()(int64_t here, F du) {
        total = total + du;
        dotted = dotted + du * (L::load(x, known(TYPE, type), once < 0 ? here : once) - mean);
    }
    inline void end(int64_t, F) {
        L::store(totals, L::load(totals) + total);
        L::store(dots, L::load(dots) + dotted);
    }
};

// dX as it is, or on through a norm: a dX + b x + c, of an x of one step for their sum; and what the first step hands back.
template <class L, int64_t TYPE, int64_t NORM>
struct Given {
    typedef typename L::F F;
    const void* x;
    void *dx, *kept;
    float *dstart, *between;  // the sum so far, if x has one step
    int64_t type, cell;
    float decay;
    F a, b, c, total;

    inline void operator()(int64_t here, F du) {
        if (kept) L::store(kept, known(TYPE, type), here, du);
        total = total + du;
        if (!between) put(here, du);
    }
    inline void end(int64_t t, F du) {
        if (t && between) L::store(between, total);
        if (t) return;
        if (between) put(cell, total);
        if (dstart) L::store(dstart + cell, decay * du);
    }
    inline void put(int64_t at, F du) {
        const bool norm = known(NORM, x != nullptr);
        L::store(dx, known(TYPE, type), at, norm ? du * a + L::load(x, known(TYPE, type), at) * b + c : du);
    }
};

int64_t rows_at_once(int64_t channels) { return std::max<int64_t>(1, CELLS / channels); }

// Room of this thread's own for so many floats.
template <int WHICH>
float* room(int64_t count) {
    thread_local std::vector<float> held;
    if (int64_t(held.size()) < count) held.resize(count);
    return held.data();
}

// Each thread's share of rows, in parts of `part` rows: work(first, rows, thread).
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

template <int64_t TYPE, int64_t NORM, int64_t RESIDUAL, int64_t SPIKES, int64_t KEPT>
void forward(const Neuron& n, const Forward& m, int64_t threads) {
    shared(m.rows, rows_at_once(m.channels), threads, [&](int64_t first, int64_t rows, int64_t) {
        float* const left = room<0>(rows * m.channels);
        columns(
            first, rows, m.channels,
            [&](Part part) { forward_part<WIDTH, TYPE, NORM, RESIDUAL, SPIKES, KEPT>(n, m, part, left); },
            [&](auto lanes, Part part) { forward_part<lanes, ANY, ANY, ANY, ANY, ANY>(n, m, part, left); });
    });
}

template <int64_t LANES, int64_t TYPE, int64_t NORM, int64_t SLOPES>
void gradients_part(const Neuron& n, const Backward m, const Part& part, float* left, float* sums) {
    const int64_t from = part.first * m.channels;
    back_part<LANES, TYPE, SLOPES>(n, m, part, left, [=](auto lanes, bool later, int64_t cell, int64_t channel) {
        typedef decltype(lanes) L;
        typename L::F a{}, b{}, c{}, total{};
        if (known(NORM, m.x != nullptr)) a = L::load(m.a + channel), b = L::load(m.b + channel), c = L::load(m.c + channel);
        float* const between = m.once ? sums + cell - from : nullptr;
        if (between && later) total = L::load(between);
        return Given<L, TYPE, NORM>{m.x, m.dx, m.kept, m.dstart, between, m.type, cell, n.decay, a, b, c, total};
    });
}

template <int64_t LANES, int64_t TYPE, int64_t SLOPES>
void sums_part(const Neuron& n, const Backward m, const Part& part, float* left, float* some) {
    back_part<LANES, TYPE, SLOPES>(n, m, part, left, [=](auto lanes, bool, int64_t cell, int64_t channel) {
        typedef decltype(lanes) L;
        typedef typename L::F F;
        float* const totals = some + channel;
        const int64_t once = m.once ? cell : -1;
        return Summed<L, TYPE>{m.x, m.type, once, totals, totals + m.channels, L::load(m.mean + channel), F{}, F{}};
    });
}

template <int64_t TYPE, int64_t NORM, int64_t SLOPES>
void gradients(const Neuron& n, const Backward& m, int64_t threads) {
    shared(m.rows, rows_at_once(m.channels), threads, [&](int64_t first, int64_t rows, int64_t) {
        float *const left = room<0>(rows * m.channels), *const sums = room<1>(rows * m.channels);
        columns(
            first, rows, m.channels,
            [&](Part part) { gradients_part<WIDTH, TYPE, NORM, SLOPES>(n, m, part, left, sums); },
            [&](auto lanes, Part part) { gradients_part<lanes, ANY, ANY, ANY>(n, m, part, left, sums); });
    });
}

// In float over GROUP rows, then in double.
template <int64_t TYPE, int64_t SLOPES>
void sums(const Neuron& n, const Backward& m, int64_t threads) {
    const int64_t wide = 2 * m.channels;
    std::vector<double> found(threads * wide, 0.0);
    shared(m.rows, GROUP, threads, [&](int64_t first, int64_t rows, int64_t thread) {
        const int64_t most = rows_at_once(m.channels);
        float *const left = room<0>(most * m.channels), *const some = room<1>(wide);
        std::fill(some, some + wide, 0.0f);
        for (int64_t row = 0; row < rows; row += most)
            columns(
                first + row, std::min(most, rows - row), m.channels,
                [&](Part part) { sums_part<WIDTH, TYPE, SLOPES>(n, m, part, left, some); },
                [&](auto lanes, Part part) { sums_part<lanes, ANY, ANY>(n, m, part, left, some); });
        for (int64_t c = 0; c < wide; ++c) found[thread * wide + c] += some[c];
    });
    for (int64_t c = 0; c < wide; ++c) {
        double whole = 0;
        for (int64_t thread = 0; thread < threads; ++thread) whole += found[thread * wide + c];
        m.sums[c] = float(whole);
    }
}

}  // namespace

extern "C" {

void idsnn_spiking_forward(const Neuron* neuron, const Forward* maps, int64_t threads) {
    Forward m = *maps;
    if (!m.scale)  // nothing is per channel, so rows may be of any length
        for (m.rows *= m.channels, m.channels = 1; m.channels < CELLS && m.rows % 2 == 0; m.channels *= 2) m.rows /= 2;
    const bool usual = m.spike_type == m.type && (!m.residual || m.residual_type == m.type);
    chosen<FLOAT, BFLOAT>(m.type, [&](auto type) {
        chosen<0, 1>(m.scale != nullptr, [&](auto norm) {
            if (!usual) return forward<type, norm, ANY, ANY, ANY>(*neuron, m, threads);
            chosen<NONE, type>(m.residual ? m.type : NONE, [&](auto residual) {
                chosen<0, 1>(m.code != nullptr, [&](auto kept) {
                    forward<type, norm, residual, type, kept>(*neuron, m, threads);
                });
            });
        });
    });
}

// dX in `dx` without x; else `a dX + b x + c` there, or of its sum over time if x has one step, and dX in `kept` if asked.
void idsnn_spiking_gradients(const Neuron* neuron, const Backward* maps, int64_t threads) {
    const Backward m = *maps;
    chosen<FLOAT, BFLOAT>(m.type, [&](auto type) {
        chosen<0, 1>(m.x != nullptr, [&](auto norm) {
            chosen<0, 1>(m.slopes != nullptr, [&](auto slopes) { gradients<type, norm, slopes>(*neuron, m, threads); });
        });
    });
}

// Sums over time and rows, of dX and of dX (x - mean).
void idsnn_spiking_sums(const Neuron* neuron, const Backward* maps, int64_t threads) {
    const Backward m = *maps;
    chosen<FLOAT, BFLOAT>(m.type, [&](auto type) {
        chosen<0, 1>(m.slopes != nullptr, [&](auto slopes) { sums<type, slopes>(*neuron, m, threads); });
    });
}
}
