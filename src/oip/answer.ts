/**
 * An inference answer: JSON, in pieces since it may be long, or JSON with binary data behind it.
 */
import type { Steps } from '../concurrency/turns.js'
import type { PredictResult } from '../predict/predictor.js'
import { activate, shortest, topK } from '../predict/scores.js'
import { type ModelName, modelName } from './model.js'
import type { InferenceRequest, WantedOutput } from './request.js'

/** Whose answer it is. All results are of one version. */
export interface Answered {
  model: ModelName
  request: Pick<InferenceRequest, 'id' | 'outputs'>
  results: readonly PredictResult[]
}

/** Bytes that are given at once. */
const BYTES_A_PIECE = 64 * 1024
/** Numbers that are written in a step. */
const NUMBERS_A_STEP = 200

/** Whether any output is binary data. */
export function isBinary({ request }: Answered): boolean {
  return request.outputs.some(({ binary }) => binary)
}

/** Numbers of the answer in JSON, and classes that are looked at: what making it costs. */
export function costOf({ request, results }: Answered): number {
  let cost = 0
  for (const output of request.outputs) for (const result of results) cost += lengthOf(output, result)
  return cost
}

/** The answer as JSON. Outputs are written as they are made: of one image after the other. */
export function* answerText(answered: Answered): Generator<string, void, void> {
  yield opening(answered)
  for (const [index, output] of answered.request.outputs.entries()) {
    if (index > 0) yield ','
    yield* outputText(output, answered.results)
  }
  yield ']}'
}

/** An answer with binary data. */
export interface BinaryAnswer {
  json: Buffer
  /** Bytes of what follows the JSON. */
  size: number
  /** What follows it, in pieces. Numbers are made as they are taken; texts are there, since their size is not known before. */
  data(): Generator<Buffer, void, void>
}

export function* binaryAnswer(answered: Answered): Steps<BinaryAnswer> {
  const parts: (() => Buffer)[] = []
  let total = 0
  let json = opening(answered)
  for (const [index, output] of answered.request.outputs.entries()) {
    if (index > 0) json += ','
    if (!output.binary) {
      for (const text of outputText(output, answered.results)) {
        json += text
        yield
      }
      continue
    }
    let size = 0
    for (const result of answered.results) {
      if (output.classes === undefined) {
        size += 4 * lengthOf(output, result)
        parts.push(() => floats(vector(output, result)))
      } else {
        const texts = elements(classes(output, result))
        size += texts.length
        parts.push(() => texts)
        yield
      }
    }
    total += size
    json += JSON.stringify({ ...described(output, answered.results), parameters: { binary_data_size: size } })
  }
  const data = function* () {
    for (const part of parts) {
      const bytes = part()
      for (let at = 0; at < bytes.length; at += BYTES_A_PIECE) yield bytes.subarray(at, at + BYTES_A_PIECE)
    }
  }
  return { json: Buffer.from(`${json}]}`), size: total, data }
}

/** JSON up to and including the bracket of the outputs. */
function opening({ model, request, results }: Answered): string {
  const answer = {
    model_name: modelName(model),
    model_version: results[0]!.version,
    ...(request.id !== undefined && { id: request.id }),
    outputs: [],
  }
  return JSON.stringify(answer).slice(0, -2)
}

function described(output: WantedOutput, results: readonly PredictResult[]) {
  const length = lengthOf(output, results[0]!)
  return output.classes === undefined
    ? { name: output.name, datatype: 'FP32', shape: [results.length, length] }
    : { name: output.name, datatype: 'BYTES', shape: [results.length, Math.min(output.classes, length)] }
}

function* outputText(output: WantedOutput, results: readonly PredictResult[]): Generator<string, void, void> {
  yield `${JSON.stringify(described(output, results)).slice(0, -1)},"data":[`
  for (const [index, result] of results.entries()) {
    if (index > 0) yield ','
    if (output.classes !== undefined) yield JSON.stringify(classes(output, result)).slice(1, -1)
    else yield* numbersText(vector(output, result))
  }
  yield ']}'
}

function* numbersText(values: Float32Array): Generator<string, void, void> {
  for (let at = 0; at < values.length; at += NUMBERS_A_STEP) {
    const numbers = Array.from(values.subarray(at, at + NUMBERS_A_STEP), shortest)
    yield (at > 0 ? ',' : '') + numbers.join()
  }
}

/** Numbers of the output for one image. */
function lengthOf({ name }: WantedOutput, { features, logits }: PredictResult): number {
  return name === 'features' ? features.length : logits!.length
}

/** The output for one image. */
function vector({ name }: WantedOutput, { features, logits, activation }: PredictResult): Float32Array {
  return name === 'features' ? features : activate(logits!, activation)
}

/** The classification extension: `score:index:label`, best first. */
function classes(output: WantedOutput, result: PredictResult): string[] {
  const scores = vector(output, result)
  return topK(scores, Math.min(output.classes!, scores.length)).map(
    ({ index, score }) => `${shortest(score)}:${index}:${result.labels![index]}`,
  )
}

/** Little-endian, as every machine that this runs on. */
function floats(values: Float32Array): Buffer {
  return Buffer.from(values.buffer, values.byteOffset, values.byteLength)
}

/** BYTES: each text with its length before it. */
function elements(texts: readonly string[]): Buffer {
  return Buffer.concat(
    texts.flatMap((text) => {
      const bytes = Buffer.from(text)
      const length = Buffer.alloc(4)
      length.writeUInt32LE(bytes.length)
      return [length, bytes]
    }),
  )
}
