"""The dialect of KoboldAI United and KoboldCpp, without pictures, speech and stories."""
