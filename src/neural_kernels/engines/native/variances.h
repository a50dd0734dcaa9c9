// The tables of own variances: each example against itself, with the arithmetic of the pairs, bit for bit, so
// that identical examples meet with a correlation of exactly one.
#pragma once

#include "chain.h"

namespace {

// Makes the variances of examples x (n positions of `channels` numbers) positive where they underflow to zero.
template <class T> static void keep_positive(const Vec<T> *x, int64_t channels, int n, Vec<T> *v) {
    Vec<T> zero = splat(T(0));
    for (int j = 0; j < n; j++) {
        typename Lanes<T>::Mask small = v[j] < splat(Constants<T>::smallest), nonzero{};
        bool any = false;
        for (int i = 0; i < Lanes<T>::count; i++) any |= small[i] != 0;
        for (int64_t c = 0; any && c < channels; c++) nonzero |= x[j * channels + c] != zero;
        v[j] = (small & nonzero) ? splat(underflown<T>) : v[j];
    }
}

// Fills in the tables of one register of examples, stage by stage: a stage needs those of all earlier ones.
template <class T> static int own_tables(const Plan &plan, Vec<T> *scalars) {
    using V = Vec<T>;
    int stages = 0;
    for (int s = 0; s < plan.n_stages; s++)
        for (int l = 0; l < plan.stages[s].steps; l++)
            if (plan.steps[plan.stages[s].first_step + l].tables) stages = s + 1;
    for (int s = 0; s < stages; s++) {
        const Stage &stage = plan.stages[s];
        Chain<T> chain(plan, false, true, s);
        int stride = chain.states[s].stride, pad = chain.states[s].pad;
        int64_t size = (int64_t)stage.height * stride, positions = (int64_t)stage.height * stage.width;
        V *v = chain.arena.take(size), *after = chain.arena.take(size);
        V *presum = chain.arena.take(stride);
        if (chain.arena.exhausted) return 1;
        if (s > 0) {
            chain.run(scalars, scalars);
            memcpy((void *)v, chain.states[s].k, size * sizeof(V));
        } else {
            for (int y = 0; y < stage.height; y++) {
                const V *x = scalars + (int64_t)y * stage.width * stored(plan);
                input_row<true, T>((const char *)x, x, plan, stage.width, v + y * stride + pad);
                if (!plan.gram) keep_positive<T>(x, plan.channels, stage.width, v + y * stride + pad);
            }
        }
        for (int l = 0; l < stage.steps; l++) {
            const Step &step = chain.step(s, l);
            Step plain = sums_of(step);
            int shape = shape_of(step), half = step.half_height;
            for (int y = 0; y < stage.height; y++) {
                auto line = [&](int i) {
                    return (i < 0 || i >= stage.height ? chain.zeros : v + (int64_t)i * stride) + pad;
                };
                Row<T> row{};
                for (int r = 0; r < 3; r++) row.k[r] = line(y + r - 1);
                if (shape == LINE && half > 0) {
                    for (int j = -pad; j < stage.width + pad; j++) {
                        V sum = line(y - half)[j];
                        for (int i = y - half + 1; i <= y + half; i++) sum = sum + line(i)[j];
                        presum[pad + j] = sum;
                    }
                    row.k[1] = presum + pad;
                }
                row.left = row.right = scalars + step.table + (int64_t)y * stage.width;
                row.table_stride = positions;
                row.left_step = row.right_step = 1;
                row.n = stage.width;
                row.step = &plain;
                row.k_out = after + (int64_t)y * stride + pad;
                row_function<T>(IDENTITY, shape, OWN)(row);
                make_tables<T>(step, row.k_out, stage.width, (V *)row.right, positions);
                row.step = &step;
                row_function<T>(step.activation, shape, OWN)(row);
            }
            V *swap = v;
            v = after;
            after = swap;
        }
    }
    return 0;
}

}  // namespace
