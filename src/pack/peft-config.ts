/**
 * `adapter_config.json` of Hugging Face's PEFT, as far as it decides what a LoRA's numbers mean.
 *
 * Format: https://huggingface.co/docs/peft/package_reference/lora.
 */
import { parseJson, toPlain } from '../strict/json.js'
import { JsonError } from '../strict/json-error.js'
import { type Problems, quote } from '../strict/problems.js'

/** How a LoRA's factors are scaled. */
export interface LoraScaling {
  /** The factor of `B A` for a layer, from the rank that its factors have. */
  of(layer: string, rank: number): number
}

/** Settings that change the formula in a way that a pack cannot say. */
const UNSUPPORTED: Readonly<Record<string, string>> = {
  use_dora: 'DoRA divides by the norm of the merged weights, which no sum of scale and factors does',
}

/**
 * Ways to begin a LoRA that take what its factors begin with out of the network's own weights. The saved factors are
 * then no difference to the network that the family was built from.
 */
const MOVES_WEIGHTS = /^(pissa|olora|corda|lora_ga|loftq)/

/** Reads the configuration; null where it is not a LoRA's, and `problems` says why. */
export function readLoraConfig(text: string, problems: Problems): LoraScaling | null {
  const before = problems.count
  const config = asObject(text, problems)
  if (config === null) return null
  const { peft_type: type, lora_alpha: alpha } = config
  if (type !== 'LORA') {
    problems.add(
      `peft_type is ${quote(type)}, expected "LORA": other kinds of PEFT are not sums beside a layer`,
    )
    return null
  }
  for (const [field, why] of Object.entries(UNSUPPORTED))
    if (config[field] === true)
      problems.add(`${field} is true: ${why}. Train without it, or merge and export the network`)
  const { init_lora_weights: init } = config
  if (typeof init === 'string' && MOVES_WEIGHTS.test(init))
    problems.add(
      `init_lora_weights is ${quote(init)}, which changed the network's own weights before training. Save the LoRA as a difference to the original ones (save_pretrained with path_initial_model_for_weight_conversion), or train with another initialisation`,
    )
  const patterns = readPatterns(config.alpha_pattern ?? {}, problems)
  if (typeof alpha !== 'number' || !Number.isFinite(alpha))
    problems.add(`lora_alpha is ${quote(alpha)}, expected a number`)
  if (problems.count > before) return null
  const root = config.use_rslora === true
  return {
    of(layer, rank) {
      const own = patterns.find(({ pattern }) => pattern.test(layer))?.alpha ?? (alpha as number)
      return own / (root ? Math.sqrt(rank) : rank)
    },
  }
}

function asObject(text: string, problems: Problems): Record<string, unknown> | null {
  try {
    const value = toPlain(parseJson(text).value)
    if (typeof value === 'object' && value !== null && !Array.isArray(value))
      return value as Record<string, unknown>
    problems.add('the configuration is not a JSON object')
  } catch (error) {
    if (!(error instanceof JsonError)) throw error
    problems.add(`the configuration is not JSON: ${error.message}`)
  }
  return null
}

/** PEFT takes the keys for expressions that a layer's name ends with. */
function readPatterns(value: unknown, problems: Problems): { pattern: RegExp; alpha: number }[] {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    problems.add('alpha_pattern is no object')
    return []
  }
  return Object.entries(value).flatMap(([key, alpha]) => {
    try {
      if (typeof alpha === 'number') return { pattern: new RegExp(`^(.*\\.)?(${key})$`), alpha }
      problems.add(`alpha_pattern of ${quote(key)} is ${quote(alpha)}, expected a number`)
    } catch {
      problems.add(`alpha_pattern has the key ${quote(key)}, which is no regular expression`)
    }
    return []
  })
}
