// What does not work, said where it is seen and heard.

const byId = (id) => document.getElementById(id);

/** A line that says what does not work, for as long as it does not. */
export class Trouble {
  #said;
  #isShown = false;

  constructor(said) {
    this.#said = said;
  }

  show() {
    byId("trouble").textContent = this.#said;
    byId("trouble").hidden = false;
    if (!this.#isShown) byId("alert").textContent = this.#said;
    this.#isShown = true;
  }

  end(said) {
    if (!this.#isShown) return;
    byId("trouble").hidden = true;
    byId("alert").textContent = said;
    this.#isShown = false;
  }
}
