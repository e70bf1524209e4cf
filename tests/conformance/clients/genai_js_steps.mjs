// Runs Google's SDK for JavaScript: prints one JSON line for each step.
// Arguments: the gateway's origin, a license key, and the version of the API.
import assert from "node:assert/strict";

import { ApiError, GoogleGenAI } from "@google/genai";

import {
  CITIES, ECHO, MODEL, PERSON, PERSON_TAG, PIXEL, SCHEMA, TEXT, TWO_CALLS, rain, refused, runSteps,
} from "./stepping.mjs";

const [origin, apiKey, apiVersion] = process.argv.slice(2);
const open = (key = apiKey) =>
  new GoogleGenAI({ apiKey: key, httpOptions: { baseUrl: `${origin}/gemini_official`, apiVersion } });
const client = open();
const declared = {
  name: "get_weather",
  description: "Tell the weather.",
  parametersJsonSchema: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
};
const tools = [{ functionDeclarations: [declared] }];
const ask = (contents, config = {}, model = MODEL) => client.models.generateContent({ model, contents, config });

/** Answer calls, and return the words that follow. */
const answered = async (calls, content) => {
  assert.deepEqual(calls.map(({ args }) => args.city), CITIES);
  const results = calls.map(({ id, name, args }) => ({
    functionResponse: { id, name, response: { result: rain(args.city) } },
  }));
  const contents = [
    { role: "user", parts: [{ text: TWO_CALLS }] },
    content,
    { role: "user", parts: results },
  ];
  const { text } = await ask(contents, { tools });
  for (const city of CITIES) assert(text.includes(rain(city)), text);
};

await runSteps({
  chat: async () => {
    const answer = await ask(ECHO, { systemInstruction: "Be short." });
    assert.deepEqual([answer.text, answer.candidates[0].finishReason], [TEXT, "STOP"]);
    assert(answer.usageMetadata.candidatesTokenCount > 0);
    const chat = client.chats.create({ model: MODEL });
    assert.equal((await chat.sendMessage({ message: ECHO })).text, TEXT);
  },
  stream: async () => {
    let text = "";
    for await (const chunk of await client.models.generateContentStream({ model: MODEL, contents: ECHO })) {
      text += chunk.text ?? "";
    }
    assert.equal(text, TEXT);
  },
  tool_loop: async () => {
    const answer = await ask(TWO_CALLS, { tools });
    await answered(answer.functionCalls, answer.candidates[0].content);
  },
  streamed_tools: async () => {
    const parts = [];
    const stream = await client.models.generateContentStream({ model: MODEL, contents: TWO_CALLS, config: { tools } });
    for await (const chunk of stream) parts.push(...(chunk.candidates?.[0]?.content?.parts ?? []));
    const calls = parts.filter(({ functionCall }) => functionCall).map(({ functionCall }) => functionCall);
    await answered(calls, { role: "model", parts });
  },
  structured: async () => {
    const config = { responseMimeType: "application/json", responseJsonSchema: SCHEMA };
    assert.deepEqual(JSON.parse((await ask(PERSON_TAG, config)).text), PERSON);
  },
  image_in: async () => {
    const image = { inlineData: { mimeType: "image/png", data: PIXEL } };
    const { text } = await ask([{ text: "What is it?" }, image]);
    assert(text.includes("image/png"), text);
  },
  picture: async () => {
    const answer = await ask("A fox", { responseModalities: ["TEXT", "IMAGE"] }, "gemini-2.5-flash-image");
    const found = answer.candidates[0].content.parts.filter(({ inlineData }) => inlineData);
    assert.match(found[0].inlineData.mimeType, /^image\//);
  },
  models: async () => {
    const names = [];
    for await (const one of await client.models.list()) names.push(one.name);
    assert(names.includes(`models/${MODEL}`), names.join());
    assert.equal((await client.models.get({ model: MODEL })).name, `models/${MODEL}`);
    assert((await client.models.countTokens({ model: MODEL, contents: TEXT })).totalTokens > 0);
  },
  errors: async () => {
    const wrong = open("sk-wrong-0123456789");
    await refused(ApiError, 401, () => wrong.models.generateContent({ model: MODEL, contents: ECHO }));
    assert((await refused(ApiError, 404, () => ask(ECHO, {}, "gpt-9"))).includes("gpt-9"));
    await refused(ApiError, 404, () => client.models.embedContent({ model: "gemini-embedding-001", contents: "x" }));
  },
});
