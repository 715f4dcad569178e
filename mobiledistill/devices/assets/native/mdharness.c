/* mdharness: times model files in a runtime's shared library, and shows what they answer.

   One line of JSON for every phase, then one with "result" or "error": the same words that mobiledistill's own
   processes on a computer say, so one reader serves both. Exit status 0 goes with a result, 1 with an error. */
#define _GNU_SOURCE /* sched_setaffinity, posix_fadvise */

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "mdruntime.h"

static const char USAGE[] =
    "usage: mdharness latency|memory|outputs|signatures --runtime litert|onnxruntime --library FILE\n"
    "                 --model FILE [--signature NAME] [--inputs FILE] [--outputs FILE] [--model FILE ...]\n"
    "                 [--reference FILE] [--threads N] [--cores 4,5] [--samples N] [--block N]\n"
    "\n"
    "  latency     samples of every model, in turns with the others and the reference\n"
    "  memory      peak memory that loading and running one model adds\n"
    "  outputs     runs each model once\n"
    "  signatures  the names a model's signatures are called by\n"
    "\n"
    "Inputs and outputs are .safetensors files; without inputs a model gets small random values.\n"
    "\n"
    "example: mdharness latency --runtime litert --library ./libLiteRt.so --model student.tflite --samples 200\n";

enum {
    MOST_MODELS = 64,
    WARM_WINDOW = 10, /* runs whose median is compared with that of the runs before */
    SWITCH_RUNS = 2,  /* not recorded: after another model ran, the first runs find cold caches */
    MEMORY_RUNS = 3,
    LOAD_LIMIT_S = 120,
    MOST_SAMPLES = 1000000
};
static const double WARM_STABLE = 0.05, WARM_AT_LEAST_S = 0.05, WARM_AT_MOST_S = 2.0;

typedef struct {
    const char *path, *signature, *inputs, *outputs;
    md_model *model;
    double load_cold_ms, load_warm_ms, first_run_ms;
    int64_t *samples_ns;
    int64_t batch;
} subject;

typedef struct {
    const char *mode, *runtime, *library, *cores;
    subject subjects[MOST_MODELS + 1]; /* the reference stands behind the others */
    size_t count, with_reference;
    int threads, samples, block;
} job;

static FILE *replies;

/* -- words --------------------------------------------------------------------------------------------------------- */

static void put_text(const char *text) {
    fputc('"', replies);
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        if (*c == '"' || *c == '\\')
            fprintf(replies, "\\%c", *c);
        else if (*c < 0x20)
            fprintf(replies, "\\u%04x", *c);
        else
            fputc(*c, replies);
    }
    fputc('"', replies);
}

static void tell_phase(const char *phase) {
    fprintf(replies, "{\"phase\": \"%s\"}\n", phase);
    fflush(replies);
}

static int tell_error(void) {
    fprintf(replies, "{\"error\": {\"kind\": \"%s\", \"message\": ", md_refused ? "input" : "failure");
    put_text(md_error);
    fprintf(replies, "}}\n");
    fflush(replies);
    return 1;
}

/* -- the process --------------------------------------------------------------------------------------------------- */

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static long preemptions(void) {
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? usage.ru_nivcsw : 0;
}

/* Pins the process to "4,5,6"; threads that start later inherit it. */
static int pin(const char *cores) {
    cpu_set_t set;
    CPU_ZERO(&set);
    for (const char *at = cores; *at;) {
        char *end;
        long core = strtol(at, &end, 10);
        if (end == at || core < 0 || core >= CPU_SETSIZE || (*end && *end != ','))
            return md_refuse("--cores takes numbers with commas between, not %s", cores);
        CPU_SET((int)core, &set);
        at = *end ? end + 1 : end;
    }
    if (sched_setaffinity(0, sizeof set, &set) == 0) return 1;
    return md_refuse("the process cannot be pinned to the cores %s: %s", cores, strerror(errno));
}

static void drop_from_page_cache(const char *path) {
    int file = open(path, O_RDONLY);
    if (file < 0) return;
    posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
    close(file);
}

/* Of /proc/self/status; -1 where it is not told. */
static long long status_bytes(const char *field) {
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    long long kilobytes = -1;
    size_t length = strlen(field);
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, field, length) == 0 && line[length] == ':') kilobytes = atoll(line + length + 1);
    if (file) fclose(file);
    return kilobytes < 0 ? -1 : 1024 * kilobytes;
}

/* Resident bytes, with the high-water mark put back to it where the system allows. */
static long long resident_before(void) {
    FILE *file = fopen("/proc/self/clear_refs", "w");
    if (file) {
        fputs("5", file);
        fclose(file);
    }
    return status_bytes("VmRSS");
}

/* -- inputs -------------------------------------------------------------------------------------------------------- */

static uint32_t drawn(void) {
    static uint64_t state = 0x9e3779b97f4a7c15u;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 32);
}

/* Floats between -1 and 1, any bytes, and 0 or 1 for other integers, which may be indices; 1 for an open length. */
static int draw(const md_tensor *declared, md_tensors *into) {
    int64_t dims[MD_MAX_RANK];
    for (int i = 0; i < declared->rank; i++) dims[i] = declared->dims[i] < 0 ? 1 : declared->dims[i];
    md_tensor *made = md_add(into, declared->name, declared->type, declared->rank, dims);
    size_t bytes = made ? md_tensor_bytes(made) : 0, each = md_type_bytes(declared->type);
    if (!bytes) return md_refuse("%s is declared too large; give inputs", declared->name);
    uint8_t *data = calloc(bytes, 1);
    made->data = data;
    if (!data) return md_fail("no memory for %s", declared->name);
    for (size_t at = 0; at < bytes; at += each) {
        float value = (float)drawn() / 2147483648.0f - 1.0f;
        double wide = value;
        if (declared->type == MD_FLOAT32)
            memcpy(data + at, &value, sizeof value);
        else if (declared->type == MD_FLOAT64)
            memcpy(data + at, &wide, sizeof wide);
        else if (declared->type == MD_INT8 || declared->type == MD_UINT8)
            data[at] = (uint8_t)drawn();
        else if (declared->type != MD_FLOAT16)
            data[at] = drawn() & 1; /* the lowest byte: phones and computers are little-endian */
    }
    return 1;
}

static int fits(const md_tensor *declared, const md_tensor *given) {
    int same = declared->type == given->type && declared->rank == given->rank;
    for (int i = 0; same && i < given->rank; i++) same = declared->dims[i] < 0 || declared->dims[i] == given->dims[i];
    return same;
}

static int inputs_of(const subject *one, md_tensors *given) {
    const md_tensors *declared = &one->model->inputs;
    *given = (md_tensors){0};
    if (!one->inputs) {
        for (size_t i = 0; i < declared->count; i++)
            if (!draw(&declared->items[i], given)) return 0;
        return 1;
    }
    char error[MD_LINE - 1];
    if (!md_read(one->inputs, given, error, sizeof error)) return md_refuse("%s", error);
    for (size_t i = 0; i < declared->count; i++) {
        const md_tensor *value = md_find(given, declared->items[i].name);
        if (!value) return md_refuse("no value was given for the input %s", declared->items[i].name);
        if (!fits(&declared->items[i], value))
            return md_refuse("the input %s has another shape or type than the file declares", value->name);
    }
    if (given->count != declared->count)
        return md_refuse("%zu inputs were given, but the file has %zu", given->count, declared->count);
    return 1;
}

static int bind_inputs(subject *one) {
    md_tensors given;
    int whole = inputs_of(one, &given) && one->model->bind(one->model, &given);
    one->batch = whole && given.count && given.items[0].rank && given.items[0].dims[0] > 0 ? given.items[0].dims[0] : 1;
    md_release(&given);
    return whole;
}

static int write_outputs(subject *one) {
    char error[MD_LINE - 1];
    if (!one->outputs) return 1;
    if (!one->model->read(one->model)) return 0;
    return md_write(one->outputs, &one->model->outputs, error, sizeof error) ? 1 : md_fail("%s", error);
}

/* -- timing -------------------------------------------------------------------------------------------------------- */

static int64_t timed(md_model *model, int *whole) {
    int64_t started = now_ns();
    int right = model->run(model);
    int64_t taken = now_ns() - started;
    *whole = *whole && right;
    return taken;
}

static int ascending(const void *left, const void *right) {
    int64_t a = *(const int64_t *)left, b = *(const int64_t *)right;
    return (a > b) - (a < b);
}

static double median(int64_t *values, size_t count) {
    qsort(values, count, sizeof *values, ascending);
    return count % 2 ? (double)values[count / 2] : (double)(values[count / 2 - 1] + values[count / 2]) / 2;
}

static int nothing(md_model *model) {
    (void)model;
    return 1;
}

/* What timing itself adds to a sample: the median of runs that do nothing. */
static double own_ns(void) {
    enum { TIMES = 1001 };
    static int64_t taken[TIMES];
    md_model empty = {.run = nothing};
    int whole = 1;
    for (size_t i = 0; i < TIMES; i++) taken[i] = timed(&empty, &whole);
    return median(taken, TIMES);
}

/* Runs until the pace no longer changes; gives the last median. */
static double warm(md_model *model, int *whole) {
    int64_t started = now_ns(), window[WARM_WINDOW];
    for (double last = HUGE_VAL, pace; *whole; last = pace) {
        size_t count = 0;
        while (count < WARM_WINDOW && *whole) {
            window[count++] = timed(model, whole);
            if ((double)(now_ns() - started) > 1e9 * WARM_AT_MOST_S) return median(window, count);
        }
        pace = median(window, count);
        int stable = fabs(pace / last - 1) < WARM_STABLE;
        if (stable && (double)(now_ns() - started) > 1e9 * WARM_AT_LEAST_S) return pace;
    }
    return 0;
}

/* Blocks of each in turns, the order of the models turned round every time, each block behind the reference. */
static int sample(job *task) {
    int whole = 1;
    size_t order[MOST_MODELS + 1];
    for (size_t i = 0; i < task->count; i++) order[i] = i;
    for (int start = 0; start < task->samples; start += task->block) {
        int count = task->samples - start < task->block ? task->samples - start : task->block;
        for (size_t turn = 0; turn < task->with_reference; turn++) {
            size_t references = task->with_reference - task->count;
            subject *one = &task->subjects[turn < references ? task->count + turn : order[turn - references]];
            for (int i = 0; i < SWITCH_RUNS; i++) timed(one->model, &whole);
            for (int i = 0; i < count && whole; i++) one->samples_ns[start + i] = timed(one->model, &whole);
            if (!whole) return 0;
        }
        for (size_t i = 0; i < task->count / 2; i++) {
            size_t other = order[i];
            order[i] = order[task->count - 1 - i];
            order[task->count - 1 - i] = other;
        }
    }
    return 1;
}

/* -- modes --------------------------------------------------------------------------------------------------------- */

static void put_samples(const subject *one, int samples) {
    fputc('[', replies);
    for (int i = 0; i < samples; i++) fprintf(replies, "%s%lld", i ? ", " : "", (long long)one->samples_ns[i]);
    fputc(']', replies);
}

static void put_machine(void) {
    struct utsname name;
    if (uname(&name) != 0) return;
    fprintf(replies, ", \"machine\": ");
    put_text(name.machine);
    fprintf(replies, ", \"kernel\": ");
    put_text(name.release);
}

static int latency(job *task, const md_runtime *runtime) {
    tell_phase("load");
    for (size_t i = 0; i < task->with_reference; i++) {
        subject *one = &task->subjects[i];
        drop_from_page_cache(one->path);
        for (int again = 0; again < 2; again++) {
            int64_t started = now_ns();
            md_model *loaded = runtime->load(one->path, one->signature, task->threads);
            double taken_ms = (double)(now_ns() - started) / 1e6;
            if (one->model) one->model->close(one->model);
            one->model = loaded;
            if (!loaded) return 0;
            *(again ? &one->load_warm_ms : &one->load_cold_ms) = taken_ms;
        }
        one->samples_ns = calloc((size_t)task->samples, sizeof *one->samples_ns);
        if (!one->samples_ns) return md_fail("no memory for the samples");
    }
    tell_phase("inputs");
    for (size_t i = 0; i < task->with_reference; i++)
        if (!bind_inputs(&task->subjects[i])) return 0;
    tell_phase("run");
    int whole = 1;
    double round_ns = 0;
    for (size_t i = 0; i < task->with_reference; i++)
        task->subjects[i].first_run_ms = (double)timed(task->subjects[i].model, &whole) / 1e6;
    for (size_t i = 0; i < task->with_reference; i++) round_ns += warm(task->subjects[i].model, &whole);
    alarm((unsigned)(30 + 10 * task->samples * round_ns / 1e9));
    long preempted = preemptions();
    if (!whole || !sample(task)) return 0;
    preempted = preemptions() - preempted;
    for (size_t i = 0; i < task->count; i++)
        if (!write_outputs(&task->subjects[i])) return 0;
    fprintf(replies, "{\"result\": {\"schema\": 1, \"files\": [");
    for (size_t i = 0; i < task->count; i++) {
        const subject *one = &task->subjects[i];
        fprintf(replies, "%s{\"load_cold_ms\": %.6f, \"load_warm_ms\": %.6f, \"first_run_ms\": %.6f, \"batch\": %lld",
                i ? ", " : "", one->load_cold_ms, one->load_warm_ms, one->first_run_ms, (long long)one->batch);
        fprintf(replies, ", \"signature\": ");
        put_text(one->model->signature);
        fprintf(replies, ", \"backend\": ");
        put_text(one->model->backend);
        fprintf(replies, ", \"samples_ns\": ");
        put_samples(one, task->samples);
        fputc('}', replies);
    }
    fprintf(replies, "], \"reference_ns\": ");
    if (task->with_reference > task->count)
        put_samples(&task->subjects[task->count], task->samples);
    else
        fprintf(replies, "null");
    fprintf(replies, ", \"own_ns\": %.0f, \"preempted_per_run\": %.6f, \"runtime\": \"%s\", \"version\": ", own_ns(),
            (double)preempted / (double)((size_t)task->samples * task->with_reference), runtime->name);
    put_text(runtime->version);
    put_machine();
    fprintf(replies, "}}\n");
    return 1;
}

static int memory(job *task, const md_runtime *runtime) {
    subject *one = &task->subjects[0];
    int whole = 1;
    long long before = resident_before();
    tell_phase("load");
    one->model = runtime->load(one->path, one->signature, task->threads);
    if (!one->model) return 0;
    tell_phase("inputs");
    if (!bind_inputs(one)) return 0;
    tell_phase("run");
    for (int i = 0; i < MEMORY_RUNS; i++) timed(one->model, &whole);
    if (!whole) return 0;
    long long peak = status_bytes("VmHWM");
    fprintf(replies, "{\"result\": {\"schema\": 1, \"peak_memory_bytes\": ");
    if (before < 0 || peak < 0)
        fprintf(replies, "null}}\n");
    else
        fprintf(replies, "%lld}}\n", peak > before ? peak - before : 0);
    return 1;
}

static int outputs(job *task, const md_runtime *runtime) {
    for (size_t i = 0; i < task->count; i++) {
        subject *one = &task->subjects[i];
        tell_phase("load");
        one->model = runtime->load(one->path, one->signature, task->threads);
        if (!one->model) return 0;
        tell_phase("inputs");
        if (!bind_inputs(one)) return 0;
        tell_phase("run");
        if (!one->model->run(one->model) || !write_outputs(one)) return 0;
    }
    fprintf(replies, "{\"result\": {\"schema\": 1}}\n");
    return 1;
}

static int list_signatures(job *task, const md_runtime *runtime) {
    char **names = NULL;
    size_t count = 0;
    tell_phase("load");
    if (!runtime->signatures(task->subjects[0].path, &names, &count)) return 0;
    fprintf(replies, "{\"result\": {\"schema\": 1, \"signatures\": [");
    for (size_t i = 0; i < count; i++) {
        if (i) fprintf(replies, ", ");
        put_text(names[i]);
    }
    fprintf(replies, "]}}\n");
    md_free_names(names, count);
    return 1;
}

static const struct {
    const char *name;
    int (*answer)(job *, const md_runtime *);
} MODES[] = {{"latency", latency}, {"memory", memory}, {"outputs", outputs}, {"signatures", list_signatures}};

static const struct {
    const char *name;
    const md_runtime *(*open)(const char *);
} RUNTIMES[] = {{"litert", md_open_litert}, {"onnxruntime", md_open_onnxruntime}};

/* -- what is asked ------------------------------------------------------------------------------------------------- */

static int number(const char *text, int most, int *value) {
    char *end;
    long read = strtol(text, &end, 10);
    if (end == text || *end || read < 1 || read > most) return 0;
    *value = (int)read;
    return 1;
}

static int take_argument(job *task, const char *name, const char *value, const char **reference) {
    subject *last = task->count ? &task->subjects[task->count - 1] : NULL;
    if (strcmp(name, "--runtime") == 0) return (task->runtime = value) != NULL;
    if (strcmp(name, "--library") == 0) return (task->library = value) != NULL;
    if (strcmp(name, "--cores") == 0) return (task->cores = value) != NULL;
    if (strcmp(name, "--reference") == 0) return (*reference = value) != NULL;
    if (strcmp(name, "--threads") == 0) return number(value, 256, &task->threads);
    if (strcmp(name, "--samples") == 0) return number(value, MOST_SAMPLES, &task->samples);
    if (strcmp(name, "--block") == 0) return number(value, MOST_SAMPLES, &task->block);
    if (strcmp(name, "--model") == 0) {
        if (task->count == MOST_MODELS) return 0;
        task->subjects[task->count++] = (subject){.path = value};
        return 1;
    }
    if (last && strcmp(name, "--signature") == 0) return (last->signature = value) != NULL;
    if (last && strcmp(name, "--inputs") == 0) return (last->inputs = value) != NULL;
    if (last && strcmp(name, "--outputs") == 0) return (last->outputs = value) != NULL;
    return 0;
}

static int take_arguments(job *task, int argc, char **argv) {
    const char *reference = NULL;
    if (argc < 2) return 0;
    task->mode = argv[1];
    for (int i = 2; i < argc; i += 2)
        if (i + 1 == argc || !take_argument(task, argv[i], argv[i + 1], &reference)) return 0;
    if (!task->runtime || !task->library || !task->count) return 0;
    task->with_reference = task->count;
    if (reference) task->subjects[task->with_reference++] = (subject){.path = reference};
    return 1;
}

int main(int argc, char **argv) {
    job task = {.threads = 1, .samples = 200, .block = 20};
    int (*answer)(job *, const md_runtime *) = NULL;
    const md_runtime *(*open_runtime)(const char *) = NULL;
    int understood = take_arguments(&task, argc, argv);
    for (size_t i = 0; understood && i < sizeof MODES / sizeof *MODES; i++)
        if (strcmp(task.mode, MODES[i].name) == 0) answer = MODES[i].answer;
    for (size_t i = 0; understood && i < sizeof RUNTIMES / sizeof *RUNTIMES; i++)
        if (strcmp(task.runtime, RUNTIMES[i].name) == 0) open_runtime = RUNTIMES[i].open;
    if (!answer || !open_runtime) {
        fputs(USAGE, stderr);
        return 2;
    }
    int output = dup(STDOUT_FILENO); /* runtimes write where they like; only answers go out there */
    replies = output < 0 ? NULL : fdopen(output, "w");
    if (!replies || dup2(STDERR_FILENO, STDOUT_FILENO) < 0) return 2;
    alarm(LOAD_LIMIT_S);
    tell_phase("start");
    if (task.cores && !pin(task.cores)) return tell_error();
    const md_runtime *runtime = open_runtime(task.library);
    if (!runtime || !answer(&task, runtime)) return tell_error();
    return fflush(replies) == 0 ? 0 : 2; /* the system releases the rest */
}
