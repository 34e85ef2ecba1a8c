/** Content-Encoding of bodies and of parts of forms: what is compressed is not read. */
import { FacetError } from '../../errors.js'
import { quoted } from '../../shown-text.js'

export function isCompressed(encoding: string | undefined): encoding is string {
  return encoding !== undefined && encoding.trim().toLowerCase() !== 'identity'
}

/** @param index position of the part, where it is one */
export function compressed(what: 'body' | 'part', encoding: string, index?: number): FacetError {
  return new FacetError(
    'unsupported_media_type',
    `The ${what} is compressed, which is not read: leave out Content-Encoding ${quoted(encoding.trim())}. Images and packs hardly shrink.`,
    index === undefined ? {} : { index },
  )
}
