// The camera and microphone of this browser: which there are, and one stream of them.

import { failureOfCamera, failures } from "./failures.js";

/** Sizes a person may ask for; a camera gives the nearest it has. */
export const SIZES = { "640x360": [640, 360], "1280x720": [1280, 720], "1920x1080": [1920, 1080] };

/** The Failure that keeps this page from any camera, or null. */
export function cameraObstacle() {
  if (!isSecureContext || !navigator.mediaDevices) return failures.insecureContext(location.origin);
  return null;
}

/** Cameras as `{id, label}`; labels come only after the first permission. */
export async function listCameras() {
  const devices = await navigator.mediaDevices.enumerateDevices();
  const cameras = devices.filter((device) => device.kind === "videoinput");
  return cameras.map((device, index) => ({ id: device.deviceId, label: device.label || `Camera ${index + 1}` }));
}

/** Open camera `id` ("" for any) at `size`, with the microphone when `hasSound`. Throws a Failure. */
export async function openCamera({ id, size, hasSound }) {
  const [width, height] = SIZES[size] ?? SIZES["1280x720"];
  const video = { width: { ideal: width }, height: { ideal: height }, frameRate: { ideal: 30 } };
  if (id) video.deviceId = { exact: id };
  try {
    const stream = await navigator.mediaDevices.getUserMedia({ video, audio: hasSound });
    for (const track of stream.getVideoTracks()) track.contentHint = "motion";
    return stream;
  } catch (error) {
    throw failureOfCamera(error);
  }
}

export function closeCamera(stream) {
  for (const track of stream?.getTracks() ?? []) track.stop();
}
