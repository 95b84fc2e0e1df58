/* A libcuda.so.1 without a GPU: one device that can do nothing. STUB_CUINIT is the answer of cuInit. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static int number(const char *name) {
    const char *text = getenv(name);
    return text ? atoi(text) : 0;
}

int cuInit(unsigned flags) { return number("STUB_CUINIT"); }
int cuDriverGetVersion(int *version) { *version = 13000; return 0; }
int cuDeviceGetCount(int *count) { *count = 1; return 0; }
int cuDeviceGet(int *device, int ordinal) { *device = ordinal; return 0; }
int cuDeviceGetName(char *name, int size, int device) { strncpy(name, "Stub GPU", size); return 0; }
int cuDeviceComputeCapability(int *major, int *minor, int device) { *major = 8; *minor = 6; return 0; }
int cuDeviceGetAttribute(int *value, int attribute, int device) { *value = 0; return 0; }
int cuCtxCreate_v2(void **context, unsigned flags, int device) { *context = (void *)1; return 0; }
int cuGetErrorName(int error, const char **name) { *name = error == 100 ? "CUDA_ERROR_NO_DEVICE" : "CUDA_ERROR"; return 0; }
int cuGetErrorString(int error, const char **text) { *text = "stub"; return 0; }

#define NOTHING(name) int name(void) { return 0; }
NOTHING(cuCtxGetCurrent) NOTHING(cuCtxSetLimit) NOTHING(cuCtxPushCurrent_v2) NOTHING(cuCtxPopCurrent_v2)
NOTHING(cuCtxDestroy_v2) NOTHING(cuMemAlloc_v2) NOTHING(cuMemAllocPitch_v2) NOTHING(cuMemAllocManaged)
NOTHING(cuMemsetD8Async) NOTHING(cuMemFree_v2) NOTHING(cuMemcpy) NOTHING(cuMemcpyAsync) NOTHING(cuMemcpy2D_v2)
NOTHING(cuMemcpy2DAsync_v2) NOTHING(cuMemcpyHtoD_v2) NOTHING(cuMemcpyHtoDAsync_v2) NOTHING(cuMemcpyDtoH_v2)
NOTHING(cuMemcpyDtoHAsync_v2) NOTHING(cuMemcpyDtoD_v2) NOTHING(cuMemcpyDtoDAsync_v2) NOTHING(cuCtxGetDevice)
NOTHING(cuDevicePrimaryCtxRetain) NOTHING(cuDevicePrimaryCtxRelease) NOTHING(cuDevicePrimaryCtxSetFlags)
NOTHING(cuDevicePrimaryCtxGetState) NOTHING(cuDevicePrimaryCtxReset) NOTHING(cuStreamCreate) NOTHING(cuStreamQuery)
NOTHING(cuStreamSynchronize) NOTHING(cuStreamDestroy_v2) NOTHING(cuStreamAddCallback) NOTHING(cuStreamWaitEvent)
NOTHING(cuEventCreate) NOTHING(cuEventDestroy_v2) NOTHING(cuEventSynchronize) NOTHING(cuEventQuery)
NOTHING(cuEventRecord) NOTHING(cuLaunchKernel) NOTHING(cuLinkCreate) NOTHING(cuLinkAddData) NOTHING(cuLinkComplete)
NOTHING(cuLinkDestroy) NOTHING(cuModuleLoadData) NOTHING(cuModuleUnload) NOTHING(cuModuleGetFunction)
NOTHING(cuModuleGetGlobal) NOTHING(cuTexObjectCreate) NOTHING(cuTexObjectDestroy) NOTHING(cuGLGetDevices_v2)
NOTHING(cuGraphicsGLRegisterImage) NOTHING(cuGraphicsUnregisterResource) NOTHING(cuGraphicsMapResources)
NOTHING(cuGraphicsUnmapResources) NOTHING(cuGraphicsSubResourceGetMappedArray)
NOTHING(cuGraphicsResourceGetMappedPointer_v2) NOTHING(cuArrayCreate_v2) NOTHING(cuArray3DCreate_v2)
NOTHING(cuArrayDestroy)
