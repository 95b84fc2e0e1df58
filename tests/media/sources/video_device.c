/* A V4L2 camera at VIDEO_PATH, preloaded into a program: YUYV 64x48 and 96x64, MJPEG and H.264 96x64, 25 to 100 fps.
   VIDEO_DATA holds what MJPEG and H.264 give: units, each behind its size in 4 bytes, again and again. After VIDEO_LIFE
   pictures it is unplugged. VIDEO_ERROR is the errno with which it refuses to be opened. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/videodev2.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define BUFFERS 4
#define ROOM 65536

static int device = -1, queue[64], queued, given;
static struct v4l2_pix_format format = {96, 64, V4L2_PIX_FMT_YUYV, V4L2_FIELD_NONE};
static struct v4l2_fract interval = {1, 25};
static FILE *data;

static int is_ours(const char *path) {
  const char *ours = getenv("VIDEO_PATH");
  return ours && !strcmp(path, ours);
}

static int open_ours(void) {
  if (getenv("VIDEO_ERROR")) return errno = atoi(getenv("VIDEO_ERROR")), -1;
  device = memfd_create("video", MFD_CLOEXEC);
  if (device >= 0 && ftruncate(device, BUFFERS * ROOM)) return -1;
  queued = given = 0;
  return device;
}

#define OPEN(name)                                                      \
  int name(const char *path, int flags, ...) {                          \
    va_list rest;                                                       \
    va_start(rest, flags);                                              \
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, int) : 0; \
    va_end(rest);                                                       \
    if (is_ours(path)) return open_ours();                              \
    return ((int (*)(const char *, int, ...))dlsym(RTLD_NEXT, #name))(path, flags, mode); \
  }
OPEN(open)
OPEN(open64)

static const uint32_t formats[] = {V4L2_PIX_FMT_YUYV, V4L2_PIX_FMT_MJPEG, V4L2_PIX_FMT_H264};
static int none(void) { return errno = EINVAL, -1; }

static int fill(struct v4l2_buffer *buffer) {
  static uint8_t picture[ROOM];
  uint32_t size = 2 * format.width * format.height;
  if (format.pixelformat == V4L2_PIX_FMT_YUYV) {
    memset(picture, 128, size);
    for (uint32_t at = 0; at < size; at += 2) picture[at] = 40 + given % 100;
  } else {
    if (!data) data = fopen(getenv("VIDEO_DATA"), "rb");
    if (fread(&size, 4, 1, data) != 1) {
      rewind(data);
      if (fread(&size, 4, 1, data) != 1) return none();
    }
    if (size > ROOM || fread(picture, 1, size, data) != size) return none();
  }
  if (pwrite(device, picture, size, buffer->index * ROOM) < 0) return -1;
  buffer->bytesused = size;
  return 0;
}

static int dequeue(struct v4l2_buffer *buffer) {
  struct timespec now, pause = {0, 1000000000L / interval.denominator * interval.numerator};
  nanosleep(&pause, NULL);
  if (getenv("VIDEO_LIFE") && given >= atoi(getenv("VIDEO_LIFE"))) return errno = ENODEV, -1;
  if (!queued) return errno = EAGAIN, -1;
  buffer->index = queue[0];
  memmove(queue, queue + 1, --queued * sizeof *queue);
  clock_gettime(CLOCK_MONOTONIC, &now);
  buffer->timestamp.tv_sec = now.tv_sec;
  buffer->timestamp.tv_usec = now.tv_nsec / 1000;
  buffer->sequence = given;
  buffer->flags = V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC;
  buffer->length = ROOM;
  return given++, fill(buffer);
}

static int list(unsigned long request, void *given_to) {
  if (request == VIDIOC_ENUM_FMT) {
    struct v4l2_fmtdesc *entry = given_to;
    if (entry->index >= 3) return none();
    entry->pixelformat = formats[entry->index];
    return 0;
  }
  if (request == VIDIOC_ENUM_FRAMESIZES) {
    struct v4l2_frmsizeenum *entry = given_to;
    if (entry->index >= (entry->pixel_format == V4L2_PIX_FMT_YUYV ? 2 : 1)) return none();
    entry->type = V4L2_FRMSIZE_TYPE_DISCRETE;
    entry->discrete.width = entry->index ? 64 : 96;
    entry->discrete.height = entry->index ? 48 : 64;
    return 0;
  }
  struct v4l2_frmivalenum *entry = given_to;
  if (entry->index >= 2) return none();
  entry->type = V4L2_FRMIVAL_TYPE_DISCRETE;
  entry->discrete = (struct v4l2_fract){1, entry->index ? 25 : 100};
  return 0;
}

static int answer(unsigned long request, void *argument) {
  struct v4l2_capability *capability = argument;
  struct v4l2_format *wanted = argument;
  struct v4l2_streamparm *rate = argument;
  struct v4l2_requestbuffers *asked = argument;
  struct v4l2_buffer *buffer = argument;
  switch (request) {
    case VIDIOC_QUERYCAP:
      capability->capabilities = V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_STREAMING;
      return 0;
    case VIDIOC_ENUM_FMT: case VIDIOC_ENUM_FRAMESIZES: case VIDIOC_ENUM_FRAMEINTERVALS:
      return list(request, argument);
    case VIDIOC_G_INPUT:
      *(int *)argument = 0;
      return 0;
    case VIDIOC_ENUMINPUT: case VIDIOC_S_INPUT: case VIDIOC_STREAMON: case VIDIOC_STREAMOFF:
      return 0;
    case VIDIOC_S_FMT: case VIDIOC_TRY_FMT:
      format = wanted->fmt.pix;
      format.field = V4L2_FIELD_NONE;
      /* fall through */
    case VIDIOC_G_FMT:
      format.sizeimage = format.pixelformat == V4L2_PIX_FMT_YUYV ? 2 * format.width * format.height : ROOM;
      format.bytesperline = format.pixelformat == V4L2_PIX_FMT_YUYV ? 2 * format.width : 0;
      wanted->fmt.pix = format;
      return 0;
    case VIDIOC_S_PARM:
      interval = rate->parm.capture.timeperframe;
      /* fall through */
    case VIDIOC_G_PARM:
      rate->parm.capture.capability = V4L2_CAP_TIMEPERFRAME;
      rate->parm.capture.timeperframe = interval;
      return 0;
    case VIDIOC_REQBUFS:
      asked->count = asked->count > BUFFERS ? BUFFERS : asked->count;
      return 0;
    case VIDIOC_QUERYBUF:
      buffer->length = ROOM;
      buffer->m.offset = buffer->index * ROOM;
      return 0;
    case VIDIOC_QBUF:
      if (queued < 64) queue[queued++] = buffer->index;
      return 0;
    case VIDIOC_DQBUF:
      return dequeue(buffer);
  }
  return none();
}

int ioctl(int descriptor, unsigned long request, ...) {
  va_list rest;
  va_start(rest, request);
  void *argument = va_arg(rest, void *);
  va_end(rest);
  if (descriptor == device && descriptor >= 0 && _IOC_TYPE(request) == 'V') return answer((uint32_t)request, argument);
  return ((int (*)(int, unsigned long, ...))dlsym(RTLD_NEXT, "ioctl"))(descriptor, request, argument);
}
