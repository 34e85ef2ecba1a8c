/**
 * Which colour profiles (ICC, https://www.color.org/specification/ICC.1-2022-05.pdf) are read: those whose conversion
 * takes a bounded time.
 *
 * littlecms evaluates a profile some 36,000 times before the first pixel, at the corners of a table that it makes of it,
 * and then goes by the table. A matrix with curves, or a table, is a handful of steps each time. But the tags D2B0 to
 * D2B3 and B2D0 to B2D3 hold any number of steps, each named in eight bytes: 72 KB of them take minutes
 * (docs/decisions/0022-which-colour-profiles-are-read.md).
 *
 * The profile that is looked at is the one that libvips found, not one that we looked for: what is checked is what is used.
 */
import { unsupported } from './headers/failures.js'
import type { ImageType } from './headers/sniff.js'

/** Profiles of printers have some 2 MiB at most. */
const MAX_PROFILE_BYTES = 4 * 2 ** 20
/** The profile's header, and the number of tags behind it. An entry is a name, an offset and a length. */
const [TAGS, ENTRY_BYTES] = [128, 12]
/** littlecms refuses a profile of more, and then it is ignored. */
const MAX_TAGS = 100
/** Names of tags that hold a list of steps (multiProcessElements). */
const UNBOUNDED_TAG = /^(D2B|B2D)[0-3]$/

/** @throws FacetError `undecodable_image` */
export function checkProfile(profile: Uint8Array, type: ImageType): void {
  if (profile.byteLength > MAX_PROFILE_BYTES)
    throw unsupported(
      type,
      `has a colour profile of ${profile.byteLength} bytes; at most ${MAX_PROFILE_BYTES} are read. Convert it to sRGB`,
    )
  const tag = unboundedTag(profile)
  if (tag !== undefined)
    throw unsupported(
      type,
      `has a colour profile with a list of steps (multiProcessElements, tag ${tag}), which is not read. Convert it to sRGB`,
    )
}

function unboundedTag(profile: Uint8Array): string | undefined {
  const bytes = Buffer.from(profile.buffer, profile.byteOffset, profile.byteLength)
  if (bytes.length < TAGS + 4) return undefined
  const tags = Math.min(MAX_TAGS, bytes.readUInt32BE(TAGS))
  const end = Math.min(bytes.length, TAGS + 4 + tags * ENTRY_BYTES)
  for (let at = TAGS + 4; at + 4 <= end; at += ENTRY_BYTES) {
    const name = bytes.toString('latin1', at, at + 4)
    if (UNBOUNDED_TAG.test(name)) return name
  }
  return undefined
}
