#include "cuda/error_names.h"

#include <algorithm>
#include <iterator>

namespace emu {

namespace {

struct Entry {
  cudaError_t error;
  const char* name;
  const char* text;
};

// In ascending order of the numbers.
constexpr Entry kEntries[] = {
    {cudaSuccess, "cudaSuccess", "no error"},
    {cudaErrorInvalidValue, "cudaErrorInvalidValue", "an argument is not valid"},
    {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "not enough memory"},
    {cudaErrorInitializationError, "cudaErrorInitializationError", "CUDA could not be initialised"},
    {cudaErrorCudartUnloading, "cudaErrorCudartUnloading", "the CUDA runtime is being unloaded"},
    {cudaErrorProfilerDisabled, "cudaErrorProfilerDisabled", "the profiler is disabled"},
    {cudaErrorProfilerNotInitialized, "cudaErrorProfilerNotInitialized", "the profiler is not initialised"},
    {cudaErrorProfilerAlreadyStarted, "cudaErrorProfilerAlreadyStarted", "the profiler runs already"},
    {cudaErrorProfilerAlreadyStopped, "cudaErrorProfilerAlreadyStopped", "the profiler does not run"},
    {cudaErrorInvalidConfiguration, "cudaErrorInvalidConfiguration", "launch dimensions are not valid for the device"},
    {cudaErrorInvalidPitchValue, "cudaErrorInvalidPitchValue", "a pitch is out of range"},
    {cudaErrorInvalidSymbol, "cudaErrorInvalidSymbol", "no such device symbol"},
    {cudaErrorInvalidHostPointer, "cudaErrorInvalidHostPointer", "not a host address"},
    {cudaErrorInvalidDevicePointer, "cudaErrorInvalidDevicePointer", "not a device address"},
    {cudaErrorInvalidTexture, "cudaErrorInvalidTexture", "not a valid texture"},
    {cudaErrorInvalidTextureBinding, "cudaErrorInvalidTextureBinding", "the texture binding is not valid"},
    {cudaErrorInvalidChannelDescriptor, "cudaErrorInvalidChannelDescriptor", "the channel descriptor is not valid"},
    {cudaErrorInvalidMemcpyDirection, "cudaErrorInvalidMemcpyDirection", "the direction of a copy is not valid"},
    {cudaErrorAddressOfConstant, "cudaErrorAddressOfConstant", "the address of a constant was taken"},
    {cudaErrorTextureFetchFailed, "cudaErrorTextureFetchFailed", "a texture fetch failed"},
    {cudaErrorTextureNotBound, "cudaErrorTextureNotBound", "a texture is not bound"},
    {cudaErrorSynchronizationError, "cudaErrorSynchronizationError", "a synchronisation failed"},
    {cudaErrorInvalidFilterSetting, "cudaErrorInvalidFilterSetting", "the filter setting is not valid"},
    {cudaErrorInvalidNormSetting, "cudaErrorInvalidNormSetting", "the normalisation setting is not valid"},
    {cudaErrorMixedDeviceExecution, "cudaErrorMixedDeviceExecution", "device and emulated code were mixed"},
    {cudaErrorNotYetImplemented, "cudaErrorNotYetImplemented", "not implemented yet"},
    {cudaErrorMemoryValueTooLarge, "cudaErrorMemoryValueTooLarge", "a memory size is too large"},
    {cudaErrorStubLibrary, "cudaErrorStubLibrary", "a stub of the CUDA driver was loaded instead of the driver"},
    {cudaErrorInsufficientDriver, "cudaErrorInsufficientDriver", "the driver is older than the runtime needs"},
    {cudaErrorCallRequiresNewerDriver, "cudaErrorCallRequiresNewerDriver", "the call needs a newer driver"},
    {cudaErrorInvalidSurface, "cudaErrorInvalidSurface", "not a valid surface"},
    {cudaErrorDuplicateVariableName, "cudaErrorDuplicateVariableName", "two variables share a name"},
    {cudaErrorDuplicateTextureName, "cudaErrorDuplicateTextureName", "two textures share a name"},
    {cudaErrorDuplicateSurfaceName, "cudaErrorDuplicateSurfaceName", "two surfaces share a name"},
    {cudaErrorDevicesUnavailable, "cudaErrorDevicesUnavailable", "all devices are busy or unavailable"},
    {cudaErrorIncompatibleDriverContext, "cudaErrorIncompatibleDriverContext", "the current context does not suit the runtime"},
    {cudaErrorMissingConfiguration, "cudaErrorMissingConfiguration", "a launch was not configured"},
    {cudaErrorPriorLaunchFailure, "cudaErrorPriorLaunchFailure", "an earlier launch failed"},
    {cudaErrorLaunchMaxDepthExceeded, "cudaErrorLaunchMaxDepthExceeded", "launches are nested too deeply"},
    {cudaErrorLaunchFileScopedTex, "cudaErrorLaunchFileScopedTex", "a nested launch uses file-scope textures"},
    {cudaErrorLaunchFileScopedSurf, "cudaErrorLaunchFileScopedSurf", "a nested launch uses file-scope surfaces"},
    {cudaErrorSyncDepthExceeded, "cudaErrorSyncDepthExceeded", "synchronisation is nested too deeply"},
    {cudaErrorLaunchPendingCountExceeded, "cudaErrorLaunchPendingCountExceeded", "too many launches are pending"},
    {cudaErrorInvalidDeviceFunction, "cudaErrorInvalidDeviceFunction", "no such device function"},
    {cudaErrorNoDevice, "cudaErrorNoDevice", "there is no CUDA device"},
    {cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "no such device"},
    {cudaErrorDeviceNotLicensed, "cudaErrorDeviceNotLicensed", "the device has no licence"},
    {cudaErrorSoftwareValidityNotEstablished, "cudaErrorSoftwareValidityNotEstablished", "the self-test of the software failed"},
    {cudaErrorStartupFailure, "cudaErrorStartupFailure", "the runtime failed to start"},
    {cudaErrorInvalidKernelImage, "cudaErrorInvalidKernelImage", "a kernel image is not valid"},
    {cudaErrorDeviceUninitialized, "cudaErrorDeviceUninitialized", "the device has no valid context"},
    {cudaErrorMapBufferObjectFailed, "cudaErrorMapBufferObjectFailed", "a buffer could not be mapped"},
    {cudaErrorUnmapBufferObjectFailed, "cudaErrorUnmapBufferObjectFailed", "a buffer could not be unmapped"},
    {cudaErrorArrayIsMapped, "cudaErrorArrayIsMapped", "the array is mapped"},
    {cudaErrorAlreadyMapped, "cudaErrorAlreadyMapped", "the resource is mapped already"},
    {cudaErrorNoKernelImageForDevice, "cudaErrorNoKernelImageForDevice", "there is no kernel image for this device"},
    {cudaErrorAlreadyAcquired, "cudaErrorAlreadyAcquired", "the resource is acquired already"},
    {cudaErrorNotMapped, "cudaErrorNotMapped", "the resource is not mapped"},
    {cudaErrorNotMappedAsArray, "cudaErrorNotMappedAsArray", "the resource is not mapped as an array"},
    {cudaErrorNotMappedAsPointer, "cudaErrorNotMappedAsPointer", "the resource is not mapped as an address"},
    {cudaErrorECCUncorrectable, "cudaErrorECCUncorrectable", "memory has an error that ECC cannot correct"},
    {cudaErrorUnsupportedLimit, "cudaErrorUnsupportedLimit", "the device does not support the limit"},
    {cudaErrorDeviceAlreadyInUse, "cudaErrorDeviceAlreadyInUse", "another thread uses the device exclusively"},
    {cudaErrorPeerAccessUnsupported, "cudaErrorPeerAccessUnsupported", "the devices cannot access each other"},
    {cudaErrorInvalidPtx, "cudaErrorInvalidPtx", "PTX code does not compile"},
    {cudaErrorInvalidGraphicsContext, "cudaErrorInvalidGraphicsContext", "the graphics context is not valid"},
    {cudaErrorNvlinkUncorrectable, "cudaErrorNvlinkUncorrectable", "NVLink had an error that cannot be corrected"},
    {cudaErrorJitCompilerNotFound, "cudaErrorJitCompilerNotFound", "the PTX compiler was not found"},
    {cudaErrorUnsupportedPtxVersion, "cudaErrorUnsupportedPtxVersion", "the PTX version is not supported"},
    {cudaErrorJitCompilationDisabled, "cudaErrorJitCompilationDisabled", "compilation at run time is disabled"},
    {cudaErrorUnsupportedExecAffinity, "cudaErrorUnsupportedExecAffinity", "the execution affinity is not supported"},
    {cudaErrorUnsupportedDevSideSync, "cudaErrorUnsupportedDevSideSync", "synchronisation on the device is not supported"},
    {cudaErrorContained, "cudaErrorContained", "a device error was contained"},
    {cudaErrorInvalidSource, "cudaErrorInvalidSource", "the device source is not valid"},
    {cudaErrorFileNotFound, "cudaErrorFileNotFound", "a file was not found"},
    {cudaErrorSharedObjectSymbolNotFound, "cudaErrorSharedObjectSymbolNotFound", "a shared library lacks a symbol"},
    {cudaErrorSharedObjectInitFailed, "cudaErrorSharedObjectInitFailed", "a shared library could not be initialised"},
    {cudaErrorOperatingSystem, "cudaErrorOperatingSystem", "the operating system refused a call"},
    {cudaErrorInvalidResourceHandle, "cudaErrorInvalidResourceHandle", "a handle is not valid, or belongs to another device"},
    {cudaErrorIllegalState, "cudaErrorIllegalState", "the object is in the wrong state for the call"},
    {cudaErrorLossyQuery, "cudaErrorLossyQuery", "the answer would lose information"},
    {cudaErrorSymbolNotFound, "cudaErrorSymbolNotFound", "a symbol was not found"},
    {cudaErrorNotReady, "cudaErrorNotReady", "the work is not finished"},
    {cudaErrorIllegalAddress, "cudaErrorIllegalAddress", "device work touched memory that it must not touch"},
    {cudaErrorLaunchOutOfResources, "cudaErrorLaunchOutOfResources", "a launch needs more resources than there are"},
    {cudaErrorLaunchTimeout, "cudaErrorLaunchTimeout", "device work ran too long"},
    {cudaErrorLaunchIncompatibleTexturing, "cudaErrorLaunchIncompatibleTexturing", "the texturing mode does not suit the launch"},
    {cudaErrorPeerAccessAlreadyEnabled, "cudaErrorPeerAccessAlreadyEnabled", "peer access is enabled already"},
    {cudaErrorPeerAccessNotEnabled, "cudaErrorPeerAccessNotEnabled", "peer access is not enabled"},
    {cudaErrorSetOnActiveProcess, "cudaErrorSetOnActiveProcess", "too late: the process uses CUDA already"},
    {cudaErrorContextIsDestroyed, "cudaErrorContextIsDestroyed", "the context is destroyed"},
    {cudaErrorAssert, "cudaErrorAssert", "an assertion in device code failed"},
    {cudaErrorTooManyPeers, "cudaErrorTooManyPeers", "the device has no room for another peer"},
    {cudaErrorHostMemoryAlreadyRegistered, "cudaErrorHostMemoryAlreadyRegistered", "the host memory is registered already"},
    {cudaErrorHostMemoryNotRegistered, "cudaErrorHostMemoryNotRegistered", "the host memory is not registered"},
    {cudaErrorHardwareStackError, "cudaErrorHardwareStackError", "the device stack overflowed"},
    {cudaErrorIllegalInstruction, "cudaErrorIllegalInstruction", "device code contains an illegal instruction"},
    {cudaErrorMisalignedAddress, "cudaErrorMisalignedAddress", "device work used a misaligned address"},
    {cudaErrorInvalidAddressSpace, "cudaErrorInvalidAddressSpace", "an address lies in the wrong address space"},
    {cudaErrorInvalidPc, "cudaErrorInvalidPc", "the program counter of device code is not valid"},
    {cudaErrorLaunchFailure, "cudaErrorLaunchFailure", "device work failed"},
    {cudaErrorCooperativeLaunchTooLarge, "cudaErrorCooperativeLaunchTooLarge", "a cooperative launch does not fit on the device"},
    {cudaErrorTensorMemoryLeak, "cudaErrorTensorMemoryLeak", "device code did not free its tensor memory"},
    {cudaErrorNotPermitted, "cudaErrorNotPermitted", "the call is not permitted here"},
    {cudaErrorNotSupported, "cudaErrorNotSupported", "not supported"},
    {cudaErrorSystemNotReady, "cudaErrorSystemNotReady", "the system is not ready for CUDA"},
    {cudaErrorSystemDriverMismatch, "cudaErrorSystemDriverMismatch", "driver and kernel module differ in version"},
    {cudaErrorCompatNotSupportedOnDevice, "cudaErrorCompatNotSupportedOnDevice", "the device does not support forward compatibility"},
    {cudaErrorMpsConnectionFailed, "cudaErrorMpsConnectionFailed", "no connection to the MPS server"},
    {cudaErrorMpsRpcFailure, "cudaErrorMpsRpcFailure", "a call to the MPS server failed"},
    {cudaErrorMpsServerNotReady, "cudaErrorMpsServerNotReady", "the MPS server is not ready"},
    {cudaErrorMpsMaxClientsReached, "cudaErrorMpsMaxClientsReached", "the MPS server has too many clients"},
    {cudaErrorMpsMaxConnectionsReached, "cudaErrorMpsMaxConnectionsReached", "the MPS server has too many connections"},
    {cudaErrorMpsClientTerminated, "cudaErrorMpsClientTerminated", "the MPS client was ended"},
    {cudaErrorCdpNotSupported, "cudaErrorCdpNotSupported", "launches from device code are not supported"},
    {cudaErrorCdpVersionMismatch, "cudaErrorCdpVersionMismatch", "launches from device code differ in version"},
    {cudaErrorStreamCaptureUnsupported, "cudaErrorStreamCaptureUnsupported", "the call is not permitted while a stream is capturing"},
    {cudaErrorStreamCaptureInvalidated, "cudaErrorStreamCaptureInvalidated", "an earlier error has invalidated the capture"},
    {cudaErrorStreamCaptureMerge, "cudaErrorStreamCaptureMerge", "two captures would become one"},
    {cudaErrorStreamCaptureUnmatched, "cudaErrorStreamCaptureUnmatched", "the capture did not begin on this stream"},
    {cudaErrorStreamCaptureUnjoined, "cudaErrorStreamCaptureUnjoined", "a forked stream was not joined before the capture ended"},
    {cudaErrorStreamCaptureIsolation, "cudaErrorStreamCaptureIsolation", "the capture would depend on work outside of it"},
    {cudaErrorStreamCaptureImplicit, "cudaErrorStreamCaptureImplicit", "the legacy default stream would become part of a capture"},
    {cudaErrorCapturedEvent, "cudaErrorCapturedEvent", "the event was recorded in a capture"},
    {cudaErrorStreamCaptureWrongThread, "cudaErrorStreamCaptureWrongThread", "the capture began in another thread"},
    {cudaErrorTimeout, "cudaErrorTimeout", "a time limit has passed"},
    {cudaErrorGraphExecUpdateFailure, "cudaErrorGraphExecUpdateFailure", "the change does not fit the instantiated graph"},
    {cudaErrorExternalDevice, "cudaErrorExternalDevice", "a device outside of CUDA failed"},
    {cudaErrorInvalidClusterSize, "cudaErrorInvalidClusterSize", "the cluster size is not valid"},
    {cudaErrorFunctionNotLoaded, "cudaErrorFunctionNotLoaded", "a function is not loaded"},
    {cudaErrorInvalidResourceType, "cudaErrorInvalidResourceType", "a resource has the wrong type"},
    {cudaErrorInvalidResourceConfiguration, "cudaErrorInvalidResourceConfiguration", "a resource configuration is not valid"},
    {cudaErrorUnknown, "cudaErrorUnknown", "an unknown error"},
    {cudaErrorApiFailureBase, "cudaErrorApiFailureBase", "the first number of errors no longer in use"},
};

const Entry* find(cudaError_t error) {
  const auto* end = std::end(kEntries);
  const auto* found =
      std::lower_bound(std::begin(kEntries), end, error, [](const Entry& entry, cudaError_t value) { return entry.error < value; });
  return found != end && found->error == error ? found : nullptr;
}

}  // namespace

const char* errorName(cudaError_t error) {
  const Entry* entry = find(error);
  return entry != nullptr ? entry->name : "unrecognized error code";
}

const char* errorText(cudaError_t error) {
  const Entry* entry = find(error);
  return entry != nullptr ? entry->text : "unrecognized error code";
}

}  // namespace emu
