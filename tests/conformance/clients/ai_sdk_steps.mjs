// Runs Vercel's AI SDK with its providers: prints one JSON line for each step.
// Arguments: the gateway's origin, a license key, and the provider.
import assert from "node:assert/strict";

import { createAnthropic } from "@ai-sdk/anthropic";
import { createGoogleGenerativeAI } from "@ai-sdk/google";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateImage, generateObject, generateText, stepCountIs, streamObject, streamText, tool } from "ai";
import { z } from "zod";

import { CITIES, ECHO, MODEL, PERSON, PERSON_TAG, PIXEL, TEXT, TWO_CALLS, rain, runSteps } from "./stepping.mjs";

const [origin, apiKey, provider] = process.argv.slice(2);
const base = `${origin}/gemini_official`;
const person = z.object({ name: z.string(), ages: z.array(z.number()) });

const compatible = (key, more = {}) =>
  createOpenAICompatible({ name: "gateway", baseURL: `${base}/v1`, apiKey: key, ...more });
const doors = {
  compatible: {
    model: (name, key = apiKey) => compatible(key)(name),
    picture: (name) => compatible(apiKey).imageModel(name),
    json: PERSON_TAG,
  },
  compatible_schema: {
    model: (name, key = apiKey) => compatible(key, { supportsStructuredOutputs: true, includeUsage: true })(name),
    json: PERSON_TAG,
  },
  openai_chat: {
    model: (name, key = apiKey) => createOpenAI({ baseURL: `${base}/v1`, apiKey: key }).chat(name),
    json: PERSON_TAG,
  },
  openai_responses: {
    model: (name, key = apiKey) => createOpenAI({ baseURL: `${base}/v1`, apiKey: key })(name),
    picture: (name) => createOpenAI({ baseURL: `${base}/v1`, apiKey }).image(name),
    json: PERSON_TAG,
  },
  anthropic: {
    model: (name, key = apiKey) => createAnthropic({ baseURL: `${base}/v1`, apiKey: key })(name),
    json: `<call name="json">${JSON.stringify(PERSON)}</call>`,
  },
  google: {
    model: (name, key = apiKey) => createGoogleGenerativeAI({ baseURL: `${base}/v1beta`, apiKey: key })(name),
    json: PERSON_TAG,
  },
};

const toolbox = (called) => ({
  get_weather: tool({
    description: "Tell the weather.",
    inputSchema: z.object({ city: z.string() }),
    execute: async ({ city }) => {
      called.push(city);
      return rain(city);
    },
  }),
});

await runSteps({
  chat: async ({ model }) => {
    const answer = await generateText({ model: model(MODEL), prompt: ECHO, maxRetries: 0 });
    assert.equal(answer.text, TEXT);
    assert.equal(answer.finishReason, "stop");
    assert(answer.usage.outputTokens > 0);
  },
  stream: async ({ model }) => {
    const answer = streamText({ model: model(MODEL), prompt: ECHO, maxRetries: 0 });
    let text = "";
    for await (const part of answer.textStream) text += part;
    assert.equal(text, TEXT);
    assert.equal(await answer.finishReason, "stop");
  },
  tool_loop: async ({ model }) => {
    const called = [];
    const tools = toolbox(called);
    const answer = await generateText({
      model: model(MODEL), prompt: TWO_CALLS, tools, stopWhen: stepCountIs(3), maxRetries: 0,
    });
    assert.deepEqual(called, CITIES);
    for (const city of CITIES) assert(answer.text.includes(rain(city)), answer.text);
    assert.equal(answer.steps[0].finishReason, "tool-calls");
  },
  streamed_tools: async ({ model }) => {
    const called = [];
    const tools = toolbox(called);
    const answer = streamText({
      model: model(MODEL), prompt: TWO_CALLS, tools, stopWhen: stepCountIs(3), maxRetries: 0,
    });
    const text = await answer.text;
    assert.deepEqual(called, CITIES);
    for (const city of CITIES) assert(text.includes(rain(city)), text);
  },
  structured: async ({ model, json }) => {
    const { object } = await generateObject({ model: model(MODEL), schema: person, prompt: json, maxRetries: 0 });
    assert.deepEqual(object, PERSON);
  },
  streamed_object: async ({ model, json }) => {
    const answer = streamObject({ model: model(MODEL), schema: person, prompt: json, maxRetries: 0 });
    for await (const _ of answer.partialObjectStream);
    assert.deepEqual(await answer.object, PERSON);
  },
  image_in: async ({ model }) => {
    const content = [{ type: "text", text: "What is it?" }, { type: "image", image: PIXEL }];
    const answer = await generateText({ model: model(MODEL), messages: [{ role: "user", content }], maxRetries: 0 });
    assert(answer.text.includes("image/png"), answer.text);
  },
  picture: async ({ picture }) => {
    if (!picture) return; // this provider has no pictures
    const { image } = await generateImage({ model: picture("gpt-image-1"), prompt: "A fox", maxRetries: 0 });
    assert.match(image.mediaType, /^image\//);
    assert(image.uint8Array.length > 1000);
  },
  errors: async ({ model }) => {
    const failure = async (asked) => {
      try {
        await generateText({ model: asked, prompt: ECHO, maxRetries: 0 });
      } catch (error) {
        return [error.statusCode, error.message];
      }
      return [];
    };
    const [wrong, wrongWords] = await failure(model(MODEL, "sk-wrong-0123456789"));
    assert.equal(wrong, 401);
    assert(wrongWords.includes("API key"), wrongWords);
    const [missing, missingWords] = await failure(model("gpt-9"));
    assert.equal(missing, 404);
    assert(missingWords.includes("gpt-9"), missingWords);
  },
}, doors[provider]);
