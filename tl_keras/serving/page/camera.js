// The camera: asked for on a click only, and let go as soon as it is not looked at.

const element = (id) => document.getElementById(id);

const REASONS = {
  NotAllowedError: "The browser may not use the camera. Allow it for this page, then try again.",
  NotFoundError: "There is no camera.",
  NotReadableError: "The camera is in use by another program.",
};

/** Let the camera's buttons work; `take` receives each picture as a JPEG blob. */
export function prepareCamera(take) {
  const video = element("camera-picture");
  const opener = element("camera-open");
  let opening = false;

  const show = (on, trouble = "") => {
    element("camera").hidden = !on;
    opener.hidden = on;
    element("camera-trouble").hidden = !trouble;
    element("camera-trouble").textContent = trouble;
  };

  const close = (trouble = "") => {
    for (const track of video.srcObject?.getTracks() ?? []) track.stop();
    video.srcObject = null;
    show(false, trouble);
  };

  const open = async () => {
    if (opening) return;
    if (!navigator.mediaDevices?.getUserMedia) {
      show(false, "The browser lends its camera only to pages that come by https or from this computer.");
      return;
    }
    opening = true;
    try {
      const wanted = { video: { facingMode: "environment", width: { ideal: 1280 } } };
      const stream = await navigator.mediaDevices.getUserMedia(wanted);
      stream.getVideoTracks()[0].onended = () => close("The camera has gone.");
      video.srcObject = stream;
      element("camera-take").disabled = true; // until there is a frame to take
      show(true);
      await video.play();
      element("camera-take").disabled = false;
      element("camera-take").focus();
    } catch (error) {
      close(REASONS[error.name] ?? `The camera cannot be used (${error.message}).`);
    } finally {
      opening = false;
    }
  };

  const picture = () => {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
    canvas.getContext("2d").drawImage(video, 0, 0);
    canvas.toBlob(take, "image/jpeg", 0.92);
  };

  opener.addEventListener("click", open);
  element("camera-take").addEventListener("click", picture);
  element("camera-close").addEventListener("click", () => {
    close();
    opener.focus();
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden && video.srcObject) close();
  });
}
