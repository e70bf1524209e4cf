// What the steps of all clients for JavaScript ask for, and a runner that prints one JSON line for each step.
export const MODEL = "gemini-3-pro";
export const TEXT = "Grüezi `mitenand` 🎉";
export const ECHO = `<echo>${TEXT}</echo>`;
export const PIXEL =
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
export const PIXEL_URL = `data:image/png;base64,${PIXEL}`;
export const PERSON = { name: "Ada {Lovelace}", ages: [36, 7] };
export const PERSON_TAG = `<json>${JSON.stringify(PERSON)}</json>`;
export const SCHEMA = {
  type: "object",
  properties: { name: { type: "string" }, ages: { type: "array", items: { type: "integer" } } },
  required: ["name", "ages"],
  additionalProperties: false,
};
export const CITIES = ["Zürich", "Genève"];
export const TWO_CALLS = CITIES.map((city) => `<call name="get_weather">${JSON.stringify({ city })}</call>`).join("");
export const rain = (city) => `It rains in ${city}.`;

export const refused = async (kind, status, work) => {
  try {
    await work();
  } catch (error) {
    if (error instanceof kind && error.status === status) return error.message;
    throw error;
  }
  throw new Error(`no ${kind.name}`);
};

export const runSteps = async (steps, ...given) => {
  for (const [step, run] of Object.entries(steps)) {
    let error = null;
    try {
      await run(...given);
    } catch (caught) {
      error = `${caught.stack}\n${JSON.stringify(caught.responseBody ?? caught.cause ?? null)}`;
    }
    console.log(JSON.stringify({ step, error }));
  }
};
