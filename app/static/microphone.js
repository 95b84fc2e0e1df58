// A button to hold while talking: asks for the microphone at the first press, gives its track while it is held.

/** `give(track | null)` sends the track to the master, or nothing; it may change while the button lives. */
export class Microphone {
  #button;
  #give;
  #track = null;
  #isHeld = false;

  constructor(button, give) {
    this.#button = button;
    this.#give = give;
    button.addEventListener("pointerdown", (event) => {
      button.setPointerCapture(event.pointerId);
      this.#hold();
    });
    for (const name of ["pointerup", "pointercancel", "blur"]) button.addEventListener(name, () => this.#release());
    button.addEventListener("keydown", (event) => isPress(event) && this.#hold());
    button.addEventListener("keyup", (event) => isPress(event) && this.#release());
    button.addEventListener("contextmenu", (event) => event.preventDefault()); // a long touch is no menu here
  }

  /** Let the microphone go, for a page that shows no master any more. */
  stop() {
    this.#release();
    this.#track?.stop();
    this.#track = null;
  }

  async #hold() {
    if (this.#isHeld) return;
    this.#isHeld = true;
    try {
      this.#track ??= await openMicrophone();
    } catch (error) {
      this.#isHeld = false;
      this.#button.textContent = error.name === "NotAllowedError" ? "Microphone not allowed" : "No microphone";
      return;
    }
    if (!this.#isHeld) return; // the question of the browser took the pointer: the next press talks
    this.#show("Talking");
    this.#give(this.#track);
  }

  #release() {
    if (!this.#isHeld) return;
    this.#isHeld = false;
    this.#show("Hold to talk");
    this.#give(null);
  }

  #show(words) {
    this.#button.textContent = words;
    this.#button.setAttribute("aria-pressed", String(this.#isHeld));
  }
}

function isPress(event) {
  const isKey = event.key === " " || event.key === "Enter";
  if (isKey) event.preventDefault();
  return isKey && !event.repeat;
}

async function openMicrophone() {
  const wanted = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };
  const stream = await navigator.mediaDevices.getUserMedia({ audio: wanted });
  return stream.getAudioTracks()[0];
}
