// What the Python side writes (plan.py mirrors these structures field by field) and C++ reads.
#pragma once

#include <cstdint>

enum EndCode { AVERAGE = 0, SUM_ALL_PAIRS = 1, SUM_DIAGONAL = 2, OUTPUT = 3, MEAN_ALL_NODES = 4 };

// One layer with weights (or none: scale 1, bias 0, affine 0), its normalisation, and the activation after it.
struct Step {
    int32_t activation;               // its place in NK_ACTIVATIONS of activations.h
    int32_t half_height, half_width;  // the filter is 2 half + 1 positions
    int32_t affine;                   // 1 where the tangent kernel gains the covariance
    int32_t normalised;               // 1 with a LayerNorm between the affine layer and the activation
    int32_t aggregate;                // on graphs, flags of the Aggregate before the layer, see graphs.h
    int32_t tables;                   // 0 to 3 values that each example has at each position for this step
    double scale, bias;               // K <- scale box(K) + bias, constant factors of earlier layers included
    double epsilon;                   // of LayerNorm
    double parameter[3];              // of the activation, see activations.h
    int64_t table;                    // where in an example's scalars the first table begins
};

// Steps at one resolution, and the pooling that ends them.
struct Stage {
    int32_t height, width;
    int32_t first_step, steps;
    int32_t end;
    int32_t window_y, window_x;
};

// An example is `scalars` numbers: those of its positions, then the tables of all steps. A position is its
// `channels`, or, with gram, the number of its letter: then gram (letters, right_letters), in the working precision,
// has the products of the channels of each left letter with those of each right one.
struct Plan {
    const Stage *stages;
    const Step *steps;
    int64_t n_stages;
    int64_t channels;
    int64_t scalars;
    double output_scale;
    const void *gram;
    int64_t right_letters;
};
