// cast.c - conversions between the floating types, through double.

#include "checkpoint/cast.h"

#include <math.h>
#include <string.h>

bool pawl_dtype_casts(enum pawl_dtype dtype)
{
    return dtype == PAWL_F32 || dtype == PAWL_BF16 || dtype == PAWL_F16 || dtype == PAWL_F64;
}

// A binary float of `fraction` fraction bits and exponent bias `bias`, as its bits (sign left out).
// Every value of the small types is exact in a double, so reading needs no rounding, and writing
// rounds once, by the nearbyint of the value measured in units of its last place.
static uint64_t encode(double value, int fraction, int bias)
{
    const uint64_t infinity = (uint64_t)(2 * bias + 1) << fraction;
    int exponent;

    if (isnan(value)) return infinity | UINT64_C(1) << (fraction - 1);
    if (isinf(value)) return infinity;
    if (value <= 0) return 0;
    frexp(value, &exponent);  // value = m 2^exponent, 0.5 <= m < 1
    exponent = exponent - 1 < 1 - bias ? 1 - bias : exponent - 1;
    // A carry out of the fraction raises the exponent by itself, up to infinity.
    const double units = nearbyint(ldexp(value, fraction - exponent));
    const uint64_t bits = (uint64_t)units + ((uint64_t)(exponent + bias - 1) << fraction);
    return bits < infinity ? bits : infinity;
}

static double decode(uint64_t bits, int fraction, int bias)
{
    const int exponent = (int)(bits >> fraction);
    const uint64_t part = bits & ((UINT64_C(1) << fraction) - 1);

    if (exponent == 2 * bias + 1) return part ? (double)NAN : (double)INFINITY;
    if (!exponent) return ldexp((double)part, 1 - bias - fraction);
    return ldexp((double)(part | UINT64_C(1) << fraction), exponent - bias - fraction);
}

// Of a two-byte type: its bits without the sign, then the sign.
static double decode16(const void *bytes, int fraction, int bias)
{
    uint16_t bits;

    memcpy(&bits, bytes, sizeof(bits));
    const double value = decode(bits & 0x7fff, fraction, bias);
    return bits & 0x8000 ? -value : value;
}

static double decode8(const void *bytes, int fraction, int bias)
{
    const uint8_t bits = *(const uint8_t *)bytes;
    const double value = decode(bits & 0x7f, fraction, bias);

    return bits & 0x80 ? -value : value;
}

static double read_float(const void *bytes, enum pawl_dtype dtype)
{
    float single;
    double value;

    switch (dtype) {
    case PAWL_F32: memcpy(&single, bytes, sizeof(single)); return (double)single;
    case PAWL_F64: memcpy(&value, bytes, sizeof(value)); return value;
    case PAWL_BF16: return decode16(bytes, 7, 127);
    case PAWL_F16: return decode16(bytes, 10, 15);
    case PAWL_F8_E5M2: return decode8(bytes, 2, 15);
    case PAWL_F8_E4M3:
        // No infinities: the highest exponent holds numbers too, but for one NaN.
        if ((*(const uint8_t *)bytes & 0x7f) == 0x7f) return (double)NAN;
        if ((*(const uint8_t *)bytes & 0x78) == 0x78) {
            value = ldexp(8 + (*(const uint8_t *)bytes & 7), 5);
            return *(const uint8_t *)bytes & 0x80 ? -value : value;
        }
        return decode8(bytes, 3, 7);
    default: return (double)NAN;
    }
}

static void write_float(void *to, enum pawl_dtype dtype, double value)
{
    const bool negative = signbit(value) != 0;
    const bool brain = dtype == PAWL_BF16;
    const float single = (float)value;

    switch (dtype) {
    case PAWL_F32: memcpy(to, &single, sizeof(single)); break;
    case PAWL_F64: memcpy(to, &value, sizeof(value)); break;
    default: {
        const uint64_t bits = encode(fabs(value), brain ? 7 : 10, brain ? 127 : 15);
        const uint16_t half = (uint16_t)(bits | (negative ? 0x8000u : 0u));
        memcpy(to, &half, sizeof(half));
    }
    }
}

// The common case without a detour: bfloat16 is the upper half of a float32.
static void shorten(char *to, const char *from, int64_t n)
{
    for (int64_t i = 0; i < n; i++, to += 2, from += 4) {
        uint32_t bits;
        memcpy(&bits, from, sizeof(bits));
        const bool nan = (bits & 0x7fffffff) > 0x7f800000;
        // Rounding may carry into the exponent, up to infinity, as it should; a NaN keeps its sign
        // and becomes a quiet one.
        const uint32_t rounded = nan ? (bits & 0x80000000) | 0x7fc00000
                                     : bits + 0x7fff + (bits >> 16 & 1);
        const uint16_t half = (uint16_t)(rounded >> 16);
        memcpy(to, &half, sizeof(half));
    }
}

void pawl_cast(void *to, enum pawl_dtype to_dtype, const void *from, enum pawl_dtype from_dtype,
               int64_t n)
{
    const size_t to_bytes = pawl_dtype_bytes(to_dtype), from_bytes = pawl_dtype_bytes(from_dtype);
    char *target = to;
    const char *source = from;

    if (to_dtype == from_dtype) {  // bit for bit: NaN payloads too
        memcpy(to, from, (size_t)n * to_bytes);
        return;
    }
    if (to_dtype == PAWL_BF16 && from_dtype == PAWL_F32) {
        shorten(target, source, n);
        return;
    }
    for (int64_t i = 0; i < n; i++, target += to_bytes, source += from_bytes)
        write_float(target, to_dtype, read_float(source, from_dtype));
}

double pawl_element(const void *bytes, enum pawl_dtype dtype)
{
    int64_t whole = 0;
    uint64_t natural = 0;

    switch (dtype) {
    case PAWL_BOOL:
    case PAWL_U8:
    case PAWL_U16:
    case PAWL_U32:
    case PAWL_U64: memcpy(&natural, bytes, pawl_dtype_bytes(dtype)); return (double)natural;
    case PAWL_I8: return *(const int8_t *)bytes;
    case PAWL_I16:
        memcpy(&natural, bytes, 2);
        return (int16_t)natural;
    case PAWL_I32:
        memcpy(&natural, bytes, 4);
        return (int32_t)natural;
    case PAWL_I64: memcpy(&whole, bytes, sizeof(whole)); return (double)whole;
    default: return read_float(bytes, dtype);
    }
}
