/**
 * Models of the Open Inference Protocol: how they are named, and what a client is told of one.
 *
 * A domain is two models: its classifier, of the domain's name, and its features. Each has one input and lists one
 * output, as clients of the protocol for images expect it.
 */
import { checkDomainId } from '../domain-id.js'

/** The one input of every model. */
export const INPUT = 'image'
/** What a model answers: scores of the classes, or the feature vector. */
export type OutputName = 'scores' | 'features'

const FEATURES_SUFFIX = ':features'

/** What a model's name says. */
export interface ModelName {
  domain: string
  /** The output that the model lists. */
  output: OutputName
}

/** What is told of a model. */
export interface ModelFacts extends ModelName {
  /** All that can be asked for, the active one first. */
  versions: readonly string[]
  /** Name of the family of the version that is told of. */
  family: string
  /** Height and width of the network's input, in pixels. */
  input: { height: number; width: number }
  /** Length of the output for one image. */
  length: number
  /** Images of one request at most. */
  maxBatch: number
}

/** `shop` is the classifier of the domain, `shop:features` its features. @throws FacetError `bad_domain_id` */
export function parseModelName(name: string): ModelName {
  const isFeatures = name.endsWith(FEATURES_SUFFIX)
  const domain = checkDomainId(isFeatures ? name.slice(0, -FEATURES_SUFFIX.length) : name)
  return { domain, output: isFeatures ? 'features' : 'scores' }
}

export function modelName({ domain, output }: ModelName): string {
  return output === 'features' ? domain + FEATURES_SUFFIX : domain
}

/** Model Metadata of the protocol. A dimension of -1 is the number of images. */
export function metadataOf(facts: ModelFacts) {
  const { versions, input, output, length } = facts
  return {
    name: modelName(facts),
    versions,
    platform: PLATFORM,
    inputs: [{ name: INPUT, datatype: 'UINT8', shape: [-1, input.height, input.width, 3] }],
    outputs: [{ name: output, datatype: 'FP32', shape: [-1, length] }],
  }
}

/** The model configuration extension. */
export function configOf(facts: ModelFacts) {
  const { family, input, output, length, maxBatch } = facts
  return {
    name: modelName(facts),
    platform: PLATFORM,
    max_batch_size: maxBatch,
    input: [
      {
        name: INPUT,
        data_type: 'TYPE_UINT8',
        format: 'FORMAT_NHWC',
        dims: [input.height, input.width, 3],
      },
    ],
    output: [{ name: output, data_type: 'TYPE_FP32', dims: [length] }],
    parameters: { family: { string_value: family } },
  }
}

/** As the protocol names platforms: project and format. */
const PLATFORM = 'facet_onnx'
