// Runs Google's SDK for JavaScript against the official API, or a gateway; prints what it makes of the answers as JSON.
// Arguments: the address without a version, a key, and the names of two models, one of them for pictures.
import assert from "node:assert/strict";

import { ApiError, FunctionCallingConfigMode, GoogleGenAI, Type } from "@google/genai";

const [baseUrl, apiKey, model, drawing] = process.argv.slice(2);
const client = new GoogleGenAI({ apiKey, httpOptions: { baseUrl, apiVersion: "v1beta" } });
const ECHO = "<echo>words that take several chunks of a stream, Grüße 你好 😀, and a few more of them</echo>";
const CALLS = '<call name="weather">{"city": "Zürich"}</call><call name="weather">{"city": "Bern"}</call>';
const properties = { city: { type: Type.STRING } };
const functions = [
  { name: "weather", description: "Tell it.", parameters: { type: Type.OBJECT, properties, required: ["city"] } },
];
const tools = [{ functionDeclarations: functions }];
const ask = (contents, config = {}, name = model) => client.models.generateContent({ model: name, contents, config });

/** Return the parts of chunks, with adjacent texts joined, and whether one is signed in place of its signature. */
const partsOf = (chunks) => {
  const found = [];
  for (const chunk of chunks) {
    for (const { thoughtSignature, ...part } of chunk.candidates?.[0]?.content?.parts ?? []) {
      const last = found.at(-1);
      if (part.functionCall) found.push({ call: part.functionCall.name, args: part.functionCall.args, signed: !!thoughtSignature });
      else if (part.inlineData) found.push({ file: part.inlineData.mimeType });
      else if (part.text !== undefined && last?.text !== undefined && !!last.thought === !!part.thought) last.text += part.text;
      else if (part.text !== "") found.push({ ...part });
    }
  }
  return found;
};

/** Return what chunks say together. */
const shown = (chunks) => {
  const last = chunks.at(-1);
  const candidate = last.candidates?.[0] ?? {};
  return {
    parts: partsOf(chunks),
    finish: candidate.finishReason,
    feedback: last.promptFeedback?.blockReason,
    usage: last.usageMetadata,
    grounding: candidate.groundingMetadata,
    addresses: candidate.urlContextMetadata,
  };
};

/** Ask for a whole answer and for a stream, which must agree. */
const both = async (contents, config = {}) => {
  const chunks = [];
  const whole = shown([await ask(contents, config)]);
  for await (const chunk of await client.models.generateContentStream({ model, contents, config })) chunks.push(chunk);
  assert.deepEqual(shown(chunks), whole);
  return whole;
};

const steps = {
  text: () => both(ECHO, { systemInstruction: "Be brief.", temperature: 0.1, topP: 0.5, topK: 4, seed: 3 }),
  thoughts: () => both('<sim thoughts="I think"/> What?', { thinkingConfig: { includeThoughts: true } }),
  limits: () => both(ECHO, { maxOutputTokens: 4, stopSequences: ["nothing"] }),
  search: () => both('<sim citations="2" text="Größe one. 😀 two. Three"/> x', { tools: [{ googleSearch: {} }] }),
  code: () => both('<sim analysis="true" text="It is 42."/> 6 * 7?', { tools: [{ codeExecution: {} }] }),
  addresses: () => both('<echo>read</echo> <sim addresses="2"/>', { tools: [{ urlContext: {} }] }),
  calls: () => both(CALLS, { tools }),
  modes: async () => {
    const found = [];
    for (const mode of [FunctionCallingConfigMode.ANY, FunctionCallingConfigMode.NONE, "VALIDATED"]) {
      found.push(await both("<echo>x</echo>", { tools, toolConfig: { functionCallingConfig: { mode } } }));
    }
    return found;
  },
  results: async () => {
    const answer = await ask(CALLS, { tools });
    const parts = answer.functionCalls.map(({ id, name, args }) => ({
      functionResponse: { id, name, response: { sky: args.city } },
    }));
    const history = [{ role: "user", parts: [{ text: CALLS }] }, answer.candidates[0].content, { role: "user", parts }];
    return both(history, { tools });
  },
  json: () =>
    both('<json>{"city": "Bern"}</json>', {
      responseMimeType: "application/json",
      responseSchema: { type: Type.OBJECT, properties, required: ["city"] },
    }),
  chat: async () => {
    const chat = client.chats.create({ model });
    await chat.sendMessage({ message: ECHO });
    const chunks = [];
    for await (const chunk of await chat.sendMessageStream({ message: "<echo>again</echo>" })) chunks.push(chunk);
    return [shown(chunks), chat.getHistory().map(({ role }) => role).filter((role, at, all) => role !== all[at - 1])];
  },
  picture: async () => shown([await ask("A fox", { responseModalities: ["TEXT", "IMAGE"] }, drawing)]).parts,
  refusals: async () => {
    const found = [];
    for (const [prompt, name] of [['<sim refuse="safety"/> x'], ['<sim refuse="prompt"/> x'], ["x", "gemini-0"]]) {
      const outcome = await ask(prompt, {}, name ?? model).then(
        (answer) => ({ ...shown([answer]), usage: undefined }),
        (error) => ({ error: error instanceof ApiError && error.status }),
      );
      found.push(outcome);
    }
    return found;
  },
};

for (const [step, run] of Object.entries(steps)) {
  let [error, data] = [null, null];
  try {
    data = await run();
  } catch (problem) {
    error = `${problem?.stack ?? problem}`;
  }
  console.log(JSON.stringify({ step, error, data }));
}
