// Reads {"checkpoint": signed note, "key": PEM, "id": hex, "proofs": [{"index", "hashes", "entry"}]} and says of each
// proof, with the code of @sigstore/verify alone, whether it verifies: a JSON list of true or the reason why not.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { createPublicKey } from "node:crypto";

const require = createRequire(new URL("../servers/package.json", import.meta.url));
const inside = (file) => require(require.resolve("@sigstore/verify").replace(/index\.js$/, file));
const { verifyMerkleInclusion } = inside("tlog/merkle.js");
const { verifyCheckpoint } = inside("tlog/checkpoint.js");

const given = JSON.parse(readFileSync(0, "utf-8"));
const log = { logID: Buffer.from(given.id, "hex"), publicKey: createPublicKey(given.key), baseURL: given.origin };
const said = given.proofs.map((proof) => {
  const entry = {
    canonicalizedBody: Buffer.from(proof.entry, "base64"),
    inclusionProof: {
      logIndex: proof.index,
      hashes: proof.hashes.map((hash) => Buffer.from(hash, "base64")),
      checkpoint: { envelope: given.checkpoint },
    },
  };
  try {
    verifyMerkleInclusion(entry, verifyCheckpoint(entry, [log]));
    return true;
  } catch (error) {
    return String(error.message);
  }
});
process.stdout.write(JSON.stringify(said));
